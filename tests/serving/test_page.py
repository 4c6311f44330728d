"""The page in a real browser, before a real server. Skipped where there is no Chromium or no Playwright."""

import json
import re

import pytest

from unskew.balance import DecisionSettings
from unskew.common import COLOURS
from unskew.serving.page import page as html

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install '.[dev]')")

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture
def opened(watched, client):
    """Opens the page; fails the test if it asks another server for anything, or complains."""
    home = f"http://127.0.0.1:{client.port}/"

    def begin(viewport=DESKTOP, scheme="light"):
        page = watched.open(home, viewport, scheme, accept_downloads=True)
        page.locator("#systems section").nth(1).wait_for()
        page.asked = watched.asked
        return page

    yield begin
    assert [url for url in watched.asked if not url.startswith((home, "data:", "blob:"))] == []
    assert [words for words in watched.said if "status of 422" not in words] == []


def predict(page, text):
    page.locator("#text").fill(text)
    page.get_by_role("button", name="Predict").click()
    page.locator("#stop").wait_for(state="hidden")
    for output in page.locator(".output").all():
        playwright.expect(output).not_to_have_class(re.compile("writing"))


def shares(page, system=0):
    rows = page.locator("#systems section").nth(system).locator(".bars li")
    return {row["topic"]: float(row["share"]) for row in rows.evaluate_all("all => all.map(row => ({...row.dataset}))")}


def output(page, system=0):
    return page.locator("#systems section").nth(system).locator(".output").inner_text()


def said_by_server(client, text, **options):
    return client.predict({"text": text, **options}).json["results"][0]


def test_two_systems_answer_side_by_side_with_the_servers_numbers(opened, client, texts):
    page = opened()
    predict(page, texts[0])
    for number, model in enumerate(client.get("/info").json["models"]):
        expected = said_by_server(client, texts[0], model=model["name"])
        assert shares(page, number) == pytest.approx(expected["topics"], abs=1e-5)
        assert output(page, number) == expected["output"]


def test_a_prior_moves_bars_and_decision_without_another_request(opened, client, texts):
    page = opened()
    predict(page, texts[0])
    before = list(page.asked)
    for kind, prior in (("training", "train"), ("uniform", "uniform")):
        page.get_by_text(kind, exact=True).first.click()
        page.wait_for_timeout(60)
        expected = said_by_server(client, texts[0], target_prior=prior, write=False)
        assert shares(page) == pytest.approx(expected["topics"], abs=1e-5)
    for topic, place in (("football", "100"), ("harvest", "0"), ("harbour", "50")):
        page.get_by_label(topic, exact=True).fill(place)
    page.wait_for_timeout(60)
    own = {"football": 1 / 1.01, "harbour": 0.01 / 1.01, "harvest": 0.0}
    expected = said_by_server(client, texts[0], target_prior=own, write=False)
    found = shares(page)
    assert found == pytest.approx(expected["topics"], abs=1e-5)
    assert found["harvest"] == 0
    assert page.locator(".decision b").first.inner_text() == expected["topic"]
    page.locator("#least").fill("0.99")
    playwright.expect(page.locator(".decision b").first).to_have_text(
        "undecided" if expected["confidence"] < 0.99 else expected["topic"]
    )
    assert page.asked == before


def test_a_topic_is_forced_by_the_keyboard(opened, client, texts):
    page = opened()
    predict(page, texts[0])
    last = page.locator("#systems section").first.locator(".bars button").last
    topic = last.locator(".label").inner_text()
    last.focus()
    page.keyboard.press("Enter")
    page.locator("#stop").wait_for(state="hidden")
    expected = said_by_server(client, texts[0], topic=topic)["output"]
    playwright.expect(page.locator(".output").first).to_have_text(expected)
    assert page.locator("#systems section").first.locator("select").input_value() == topic
    assert page.locator(".bars button[aria-pressed=true] .label").first.inner_text() == topic
    page.locator("#text").press("Control+Enter")
    page.locator("#stop").wait_for(state="hidden")
    playwright.expect(page.locator(".output").first).to_have_text(expected)


@pytest.mark.parametrize("kind", ["txt", "csv", "jsonl"])
def test_a_file_shows_its_shares_and_can_be_downloaded(opened, client, texts, tmp_path, kind):
    page = opened()
    file = tmp_path / f"rows.{kind}"
    lines = {
        "txt": "\n".join(texts),
        "csv": "id,text\n" + "".join(f'r{i},"{text}, ""said"""\n' for i, text in enumerate(texts)),
        "jsonl": "".join(json.dumps({"id": f"r{i}", "text": text}) + "\n" for i, text in enumerate(texts)),
    }[kind]
    file.write_text(lines, "utf-8")
    page.locator("#file").set_input_files(file)
    page.locator("#files section").nth(1).wait_for()
    page.get_by_text("estimated", exact=True).click()
    sent = [f'{text}, "said"' for text in texts] if kind == "csv" else texts
    expected = client.predict({"texts": sent, "write": False, "target_prior": "adaptive"}).json["results"]
    with page.expect_download() as begun:
        page.get_by_role("button", name="Download JSONL").first.click()
    rows = [json.loads(line) for line in begun.value.path().read_text("utf-8").splitlines()]
    assert [row["id"] for row in rows] == [f"r{i}" if kind != "txt" else str(i + 1) for i in range(len(texts))]
    for row, result in zip(rows, expected, strict=True):
        assert row["topic"] == result["topic"]
        assert row["topics"] == pytest.approx(result["topics"], abs=1e-5)
    page.locator("#least").fill("0.9")
    page.wait_for_timeout(100)
    undecided = sum(result["confidence"] < 0.9 for result in expected)
    assert f"{undecided} undecided" in page.locator("#files .summary").first.inner_text()


def test_what_the_server_refuses_is_said(opened):
    page = opened()
    page.get_by_role("button", name="Predict").click()
    playwright.expect(page.locator("#systems .problem").first).to_have_text("text 1 is empty; leave it out")


def test_topics_alone_have_bars_and_no_output(watched, serving, load, fitted, texts):
    with serving(load(fitted[1], stage="encoder")) as client:
        page = watched.open(f"http://127.0.0.1:{client.port}/", DESKTOP, "light")
        page.locator("#systems section").first.wait_for()
        predict(page, texts[0])
        assert shares(page) == pytest.approx(said_by_server(client, texts[0])["topics"], abs=1e-5)
        assert page.locator("#systems .output").count() == 0
    assert watched.said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_never_scrolls_sideways(opened, texts, tmp_path, scheme):
    page = opened(PHONE, scheme)
    predict(page, texts[0])
    (tmp_path / "rows.txt").write_text("\n".join([*texts, "w" * 300]), "utf-8")
    page.locator("#file").set_input_files(tmp_path / "rows.txt")
    page.locator("#files section").nth(1).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    surface = page.evaluate("getComputedStyle(document.querySelector('section')).backgroundColor")
    assert (int(re.findall(r"\d+", surface)[0]) < 100) == (scheme == "dark")


def test_the_colours_are_those_of_the_report():
    for name in ("ink", "muted", "line", "surface", "predicted", "train", "true"):
        light, dark = COLOURS[name]
        assert re.findall(rf"--{name}:(#\w+)", html()) == [light, dark]


def test_a_decision_of_the_bundle_is_shown_as_the_server_takes_it(watched, serving, load, fitted, texts, tmp_path):
    costs = {topic: {"harbour": 0.0} for topic in ("football", "harvest")}
    fitted[0].with_decision(DecisionSettings(costs=costs, min_confidence={"harbour": 0.2})).save_pretrained(
        tmp_path / "b"
    )
    with serving(load(tmp_path / "b")) as client:
        page = watched.open(f"http://127.0.0.1:{client.port}/", DESKTOP, "light")
        page.locator("#systems section").first.wait_for()
        shown = []
        for text in texts[:4]:
            predict(page, text)
            shown.append(page.locator(".decision b").first.inner_text())
        expected = [said_by_server(client, text, write=False)["topic"] or "undecided" for text in texts[:4]]
    assert shown == expected
    assert "harbour" in shown or "undecided" in shown
