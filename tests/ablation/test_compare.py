"""Two runs on the same rows, in pairs, against numbers worked by hand and scipy's McNemar."""

import json

import pytest
import torch

from unskew.ablation import Comparison, compare
from unskew.ablation.compare import mcnemar
from unskew.cli.main import main
from unskew.common import UserError, read_artefact, write_jsonl
from unskew.evaluation import AuditColumns, evaluate

TRUTH = ["a"] * 40 + ["b"] * 20


def run(path, decided, truth=TRUTH, first=0):
    rows = [
        {"id": f"r{first + n}", "true_topic": true, "topic": topic, "topics": {topic: 0.8, "ab"[topic == "a"]: 0.2}}
        for n, (true, topic) in enumerate(zip(truth, decided, strict=True))
    ]
    write_jsonl(path, rows)
    return path


@pytest.fixture
def runs(tmp_path):
    """B is right in ten rows of topic b that A has wrong."""
    return run(tmp_path / "a.jsonl", ["a"] * 50 + ["b"] * 10), run(tmp_path / "b.jsonl", TRUTH)


def test_a_run_that_is_right_in_ten_more_rows_is_significant(runs, tmp_path):
    found = compare(*runs, output=tmp_path / "out")
    metrics = {its.name: its for its in found.metrics}
    assert found.right_in_one_alone == [0, 10]
    assert metrics["accuracy"].difference == pytest.approx(10 / 60)
    assert metrics["accuracy"].p == pytest.approx(2 / 2**10)
    assert metrics["macro_f1"].significant
    assert metrics["macro_f1"].interval[0] > 0
    topics = {its.topic: its for its in found.topics}
    assert (topics["b"].a, topics["b"].b) == (0.5, 1.0)
    assert topics["b"].p == pytest.approx(2 * 2 / 2**10)
    assert topics["a"].p == 1.0
    assert "recall_few" not in metrics
    assert read_artefact(tmp_path / "out" / "comparison.json", Comparison) == found
    page = (tmp_path / "out" / "comparison.html").read_text("utf-8")
    assert "b is the more accurate" in page
    assert page.index('dir="auto">b</th>') < page.index('dir="auto">a</th>')  # the surest difference first


def test_a_run_and_itself_are_not_told_apart(runs):
    found = compare(runs[0], runs[0])
    assert not any(its.significant for its in found.metrics)
    assert all(its.interval == [0.0, 0.0] for its in found.metrics)


def test_mcnemar_counts_the_rows_that_one_alone_has_right():
    one = torch.tensor([True] * 8 + [False] * 2 + [True] * 50)
    other = torch.tensor([False] * 8 + [True] * 2 + [True] * 50)
    assert mcnemar(one, other) == pytest.approx(2 * (1 + 10 + 45) / 2**10)


def test_the_training_set_adds_bands(runs, tmp_path):
    (tmp_path / "counts.json").write_text(json.dumps({"a": 200, "b": 5}))
    metrics = {its.name: its for its in compare(*runs, train=str(tmp_path / "counts.json")).metrics}
    assert metrics["recall_few"].difference == pytest.approx(0.5)
    assert metrics["recall_many"].difference == 0


@pytest.mark.parametrize(
    ("truth", "first", "said"),
    [
        (
            TRUTH,
            1,
            r"have different test rows: 2 ids are in one alone, as 'r0' in .*a\.jsonl; .*same --train",
        ),
        (["c", *TRUTH[1:]], 0, r"have different topics: the row 'r0' is 'a' in one"),
    ],
)
def test_other_rows_or_topics_are_refused_in_one_line(runs, tmp_path, capsys, truth, first, said):
    other = run(tmp_path / "other.jsonl", ["a"] * 60, truth, first)
    with pytest.raises(UserError, match=said):
        compare(runs[0], other)
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(runs[0]), str(other)])
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_labels_of_their_own_file_and_missing_rows(runs, tmp_path):
    rows = [json.loads(line) for line in runs[0].read_text().splitlines()]
    write_jsonl(tmp_path / "labels.jsonl", [{"id": row["id"], "topic": row["true_topic"]} for row in rows])
    assert compare(*runs, labels=str(tmp_path / "labels.jsonl")).rows == 60
    short = tmp_path / "short.jsonl"
    write_jsonl(short, rows[1:])
    with pytest.raises(UserError, match=r"short\.jsonl: 1 rows differ from those of the labels"):
        compare(runs[0], short, labels=str(tmp_path / "labels.jsonl"))


def test_files_with_other_columns(runs, tmp_path):
    other = {"id": "key", "topic": "p", "true_topic": "y", "topics": "q"}
    mine = []
    for path in runs:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        mine.append(tmp_path / f"mine_{path.name}")
        write_jsonl(mine[-1], [{other[name]: value for name, value in row.items()} for row in rows])
    truth = [json.loads(line) for line in runs[0].read_text().splitlines()]
    write_jsonl(tmp_path / "labels.jsonl", [{"nr": row["id"], "label": row["true_topic"]} for row in truth])
    write_jsonl(tmp_path / "train.jsonl", [{"text": "t", "intent": topic} for topic in "a" * 200 + "b" * 5])
    named = ["--columns.id", "key", "--columns.topic", "p", "--columns.topics", "q", "--columns.train", "intent"]
    for given in (
        ["--columns.label", "y"],
        ["--labels", str(tmp_path / "labels.jsonl"), "--columns.label", "label", "--columns.label_id", "nr"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(["compare", *map(str, mine), "--train", str(tmp_path / "train.jsonl"), *named, *given,
                  "--output", str(tmp_path / "out"), "--overwrite"])  # fmt: skip
        assert ended.value.code == 0
        found = read_artefact(tmp_path / "out" / "comparison.json", Comparison)
        expected = compare(*runs, train=str(tmp_path / "train.jsonl"), columns=AuditColumns(train="intent"))
        assert found.metrics == expected.metrics
        assert "recall_few" in {its.name for its in found.metrics}


def test_two_evaluations_from_the_command_line(fitted, corpus, tmp_path, capsys):
    for name in ("one", "other"):
        evaluate(fitted[0], str(corpus / "test.jsonl"), tmp_path / name)
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(tmp_path / "one"), str(tmp_path / "other")])
    printed = capsys.readouterr().out
    assert ended.value.code == 0
    assert "No significant difference in accuracy" in printed
    assert "calibration error" in printed
