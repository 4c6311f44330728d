import copy
import csv
import io

import pytest

from unskew.ablation.report.tables import as_csv, as_markdown


def rows_of(results):
    return list(csv.DictReader(io.StringIO(as_csv(results))))


def test_csv_holds_every_figure(fake_results):
    results = fake_results(arms=["plain", "svm", "hybrid"])
    rows = {(row["arm"], row["metric"]): row for row in rows_of(results)}
    assert len(rows) == 3 * len(results["metrics"])
    plain, hybrid = results["arms"][0], results["arms"][2]
    row = rows["hybrid", "macro_f1"]
    assert float(row["mean"]) == hybrid["mean"]["macro_f1"]
    assert [float(row["low"]), float(row["high"])] == hybrid["interval"]["macro_f1"]
    assert row["seeds"] == "5"
    found = hybrid["against"]["plain"]["macro_f1"]
    assert float(row["difference_against_plain"]) == found["difference"]
    assert float(row["p_corrected_against_plain"]) == found["p_corrected"]
    assert rows["plain", "macro_f1"]["difference_against_plain"] == ""
    assert rows["svm", "rougeL"]["mean"] == ""
    assert rows["svm", "rougeL"]["seeds"] == "0"
    assert "recommended" not in as_csv(results), "an arm that was not run is compared with nothing"
    assert plain["mean"]["macro_f1"] == float(rows["plain", "macro_f1"]["mean"])


def test_markdown_is_a_table_whatever_the_titles(fake_results):
    results = copy.deepcopy(fake_results(arms=["plain", "recommended", "hybrid"]))
    results["arms"][0]["title"] = "pipes | and\nlines, *stars* <b> `code`"
    text = as_markdown(results)
    tables = [block for block in text.split("\n\n") if block.startswith("| arm")]
    assert len(tables) == 3, "topics, outputs, cost"
    for table in tables:
        lines = table.splitlines()
        assert len(lines) == 2 + 3
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert "pipes \\| and lines, \\*stars\\* \\<b\\> \\`code\\` (A)" in text


def test_markdown_sets_only_what_stands_apart_in_bold(fake_results):
    results = copy.deepcopy(fake_results(arms=["plain", "recommended", "hybrid"]))
    hybrid = next(line for line in as_markdown(results).splitlines() if line.startswith("| Hybrid"))
    assert "**" in hybrid
    for arm in results["arms"]:
        arm["interval"] = dict.fromkeys(arm["interval"])
    assert "**" not in as_markdown(results)


def test_an_interrupted_ablation_says_over_how_few_seeds_a_mean_is(fake_results):
    results = copy.deepcopy(fake_results(arms=["plain", "recommended", "hybrid"]))
    assert "Mean over 5 seeds" in as_markdown(results)
    results["arms"][2]["runs"] = results["arms"][2]["runs"][:1]
    text = as_markdown(results)
    assert "Mean over 1 to 5 seeds" in text
    assert "no difference is judged" in text
    assert "**" not in text


@pytest.mark.parametrize("missing", ["plain", "hybrid"])
def test_an_arm_that_was_not_run_is_named(fake_results, missing):
    results = copy.deepcopy(fake_results(arms=["plain", "recommended", "hybrid"]))
    arm = next(arm for arm in results["arms"] if arm["name"] == missing)
    arm["runs"], arm["mean"], arm["interval"], arm["against"] = [], {}, {}, {}
    assert f"Not run: {arm['title']}." in as_markdown(results)
    assert missing not in {row["arm"] for row in rows_of(results)}
