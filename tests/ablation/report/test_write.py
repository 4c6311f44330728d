import copy
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from unskew.ablation import write_report
from unskew.common import UserError

FEW = ["plain", "recommended", "bayes"]
TWO = ["plain", "hybrid"]


class Page(HTMLParser):
    """The elements of a page, how often each id occurs in it, and its words."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.ids, self.attributes, self.words = Counter(), Counter(), [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs
        self.ids.update(value for name, value in attrs if name == "id")

    def handle_data(self, data):
        self.words += data


def test_results_of_an_earlier_version_are_read(tmp_path):
    old = json.loads((Path(__file__).parents[2] / "fixtures" / "ablation_results.json").read_bytes())
    assert "measures" in old
    assert "0.547" in write_report(old, tmp_path)[0].read_text("utf-8")


@pytest.fixture(scope="module")
def written(fake_results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    results = fake_results()
    return results, write_report(results, folder), folder


@pytest.fixture(scope="module")
def page(written):
    return Page((written[2] / "report.html").read_text("utf-8"))


def test_all_files_are_written_and_named(written):
    _, paths, folder = written
    names = {str(path.relative_to(folder)) for path in paths}
    pictures = ("recall_by_band", "differences", "shares", "reliability", "cost")
    plots = {f"plots/{name}.{ending}" for name in pictures for ending in ("png", "svg")}
    assert names == {"report.html", "results.csv", "table.md"} | plots
    assert names == {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert (folder / "report.html").stat().st_size < 2_000_000
    for path in folder.glob("plots/*.svg"):
        ElementTree.parse(path)


def test_users_text_stays_text(page, written):
    assert page.tags["script"] == 1
    assert page.tags["img"] == 0
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    for text in (
        "<script>document.title='broken'</script>",
        "</blockquote></style> {{ 7 * 7 }} & <!-- so",
        "زراعة <b>",
    ):
        assert text in page.words
    assert "a null \ufffd, a bell \ufffd and half a letter \ufffd" in page.words
    assert page.tags["blockquote"] == len(written[0]["examples"])


def test_the_page_stands_alone(page):
    linked = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "action", "data")]
    assert linked
    assert all(value.startswith(("#", "data:")) for value in linked)
    policy = next(value for name, value in page.attributes if name == "content" and "default-src" in value)
    assert "default-src 'none'" in policy


def test_no_id_stands_twice_and_every_colour_is_the_pages(page, written):
    assert [name for name, times in page.ids.items() if times > 1] == []
    used = {value[1:] for name, value in page.attributes if name in ("href", "xlink:href") and value.startswith("#")}
    assert used <= set(page.ids)
    html = (written[2] / "report.html").read_text("utf-8")
    pictures = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(pictures) > 30
    assert not re.search(r"(?:fill|stroke)[:=]\s*\"?#[0-9a-f]{3}", "".join(pictures))


def test_examples_are_sorted_rarest_first(page, written):
    results = written[0]
    counts = dict(zip(results["topics"]["names"], results["topics"]["counts"], strict=True))
    shown = re.findall(r"(\d[\d,]*) training rows", page.words)[1:]
    wanted = sorted(counts[example["true_topic"]] for example in results["examples"])
    assert [int(count.replace(",", "")) for count in shown] == wanted


def test_results_read_back_give_the_same_page(fake_results, read_back, tmp_path):
    results = fake_results(arms=["plain"])
    write_report(results, tmp_path / "made")
    write_report(read_back(results), tmp_path / "again")
    for name in ("report.html", "results.csv", "table.md", "plots/shares.svg"):
        assert (tmp_path / "made" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_hundreds_of_topics_fit_the_page(fake_results, tmp_path):
    paths = write_report(fake_results(topics=300, arms=TWO), tmp_path)
    assert paths[0].stat().st_size < 2_000_000
    assert "topics, most training rows first" in paths[0].read_text("utf-8")


def test_a_single_seed_claims_nothing(fake_results, tmp_path):
    (html, *_) = write_report(fake_results(seeds=(0,), arms=TWO), tmp_path)
    page = Page(html.read_text("utf-8"))
    assert "without intervals nothing is told apart" in page.words
    classes = " ".join(value for name, value in page.attributes if name == "class").split()
    assert not {"best", "tied", "mark"} & set(classes)
    assert not (tmp_path / "plots" / "differences.png").exists()


def test_missing_arms_and_figures_are_said(fake_results, tmp_path):
    results = copy.deepcopy(fake_results(arms=FEW))
    plain, recommended = results["arms"][:2]
    plain |= {"runs": [], "mean": {}, "interval": {}, "against": {}}
    recommended["runs"].pop()
    for arm in results["arms"][1:]:
        arm["mean"]["nll"] = arm["interval"]["nll"] = None
        arm["against"].pop("plain", None)
    words = " ".join(Page(write_report(results, tmp_path)[0].read_text("utf-8")).words.split())
    assert f"Not run: {plain['title']}." in words
    assert f"The reference arm {plain['title']} was not run" in words
    assert "4 of 5 seeds" in words
    assert "NLL" not in words


def test_without_matplotlib_the_page_says_so(fake_results, tmp_path, without_matplotlib):
    paths = write_report(fake_results(arms=FEW), tmp_path)
    assert [path.name for path in paths] == ["report.html", "results.csv", "table.md"]
    page = Page(paths[0].read_text("utf-8"))
    assert page.tags["svg"] == 0
    assert "pip install 'unskew[plots]'" in page.words
    assert "prefers-color-scheme:dark" in page.words


def test_other_formats_are_refused(fake_results, tmp_path):
    with pytest.raises(UserError, match="format 2, but this version reports format 1"):
        write_report(fake_results(arms=FEW) | {"format": 2}, tmp_path)
    assert list(tmp_path.iterdir()) == []
