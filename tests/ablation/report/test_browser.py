"""The page in a real browser: Debian's chromium, driven by Playwright. Skipped where either is not installed."""

import pytest

from unskew.ablation import write_report

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def report(fake_results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    return write_report(fake_results(arms=["plain", "adjusted", "recommended", "svm", "hybrid", "bayes"]), folder)[0]


@pytest.fixture
def opened(watched, report):
    """Opens the page offline; fails the test if it asks for anything or complains of anything."""
    opened = []

    def begin(viewport, scheme="light"):
        opened.append(report.as_uri())
        return watched.open(opened[-1], viewport, scheme, offline=True)

    yield begin
    assert [url for url in watched.asked if not url.startswith("data:")] == opened
    assert watched.said == []


def shown_order(page):
    return page.locator("tr[data-arm]").evaluate_all("rows => rows.map(row => row.dataset.arm)")


def column(page, name):
    return page.locator("thead button").filter(has_text=name)


def test_a_heading_sorts_best_first_then_turns(opened):
    page = opened(DESKTOP)
    given = shown_order(page)
    column(page, "macro-F1").click()
    assert shown_order(page) == ["bayes", "hybrid", "recommended", "svm", "adjusted", "plain"]
    assert page.locator("[aria-sort=descending]").inner_text().startswith("macro-F1")
    assert page.locator("tr.group").count() == 0
    column(page, "macro-F1").click()
    assert shown_order(page)[0] == "plain"
    column(page, "NLL").click()
    assert shown_order(page)[0] == "bayes", "lower is better"
    assert page.locator("[aria-sort=ascending], [aria-sort=descending]").count() == 1
    column(page, "Arm").click()
    assert shown_order(page) == given
    assert page.locator("tr.group").count() == 4


def test_the_keyboard_sorts_and_switches(opened):
    page = opened(DESKTOP)
    column(page, "macro-F1").focus()
    page.keyboard.press("Enter")
    assert shown_order(page)[1] == "hybrid"
    page.keyboard.press("Space")
    assert shown_order(page)[0] == "plain"
    page.get_by_label("Topics", exact=True).focus()
    page.keyboard.press("ArrowRight")
    assert column(page, "ROUGE-L").is_visible()
    assert not column(page, "macro-F1").is_visible()
    column(page, "ROUGE-L").click()
    assert set(shown_order(page)[-2:]) == {"svm", "bayes"}, "what was not measured comes last"
    column(page, "ROUGE-L").click()
    assert set(shown_order(page)[-2:]) == {"svm", "bayes"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_never_scrolls_sideways(opened, scheme):
    page = opened(PHONE, scheme)
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    wide = page.evaluate(
        "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, pre, svg, .hidden, .wide')"
        " && e.getBoundingClientRect().right > innerWidth).map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == []
    assert page.locator(".narrow svg").is_visible()
    assert not page.locator(".wide svg").is_visible()


def test_dark_and_light_are_both_readable(opened):
    for scheme, dark in (("light", False), ("dark", True)):
        page = opened(DESKTOP, scheme)
        colours = page.evaluate(
            "['section', 'h1', '.wide svg text'].map(name => getComputedStyle(document.querySelector(name)))"
            ".map(its => [its.backgroundColor, its.color, its.fill])"
        )
        section, title, label = colours[0][0], colours[1][1], colours[2][2]
        assert (brightness(section) < 0.2) == dark
        for ink in (title, label):
            assert abs(brightness(ink) - brightness(section)) > 0.4


def brightness(colour):
    red, green, blue = (int(part) for part in colour.strip("rgb()").split(",")[:3])
    return (0.3 * red + 0.59 * green + 0.11 * blue) / 255


def test_hostile_texts_are_read_not_run(opened):
    page = opened(DESKTOP)
    assert page.title() == "The newsroom: hybrid against decoder-only"
    assert page.locator("blockquote", has_text="<script>document.title='broken'</script>").is_visible()
    assert page.locator("blockquote", has_text="محصول").evaluate("e => getComputedStyle(e).direction") == "rtl"
