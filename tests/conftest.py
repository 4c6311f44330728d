"""A system fitted on the spot, small enough for every test that needs one to share it."""

import json
import random
import shutil
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings

from unskew.common import write_jsonl
from unskew.decoder import DecoderSettings
from unskew.encoder import EncoderSettings
from unskew.pipeline import DataSettings, FitSettings, fit
from unskew.training import PhaseSettings, ScratchSettings

# How fast an example runs says more of the machine than of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

WORDS = {
    "harvest": ["wheat", "barley", "field", "tractor"],
    "harbour": ["ship", "cargo", "crane", "tide"],
    "football": ["goal", "keeper", "league", "stadium"],
}
COUNTS = {"harvest": 60, "harbour": 24, "football": 8}
TINY = ScratchSettings(layers=1, width=32, heads=2, vocabulary=400)
TRAINER = {"accelerator": "cpu", "devices": 1}


def rows(counts, seed, name):
    draw = random.Random(seed)
    made = [
        {
            "id": f"{name}-{topic}-{i}",
            "text": f"{' '.join(draw.choices(WORDS[topic], k=6))} number {draw.randrange(1000)}",
            "topic": topic,
            "target": f"{topic} desk reports {draw.choice(WORDS[topic])}",
        }
        for topic, count in counts.items()
        for i in range(count)
    ]
    draw.shuffle(made)
    return made


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write_jsonl(folder / "train.jsonl", rows(COUNTS, 0, "train"))
    write_jsonl(folder / "noisy.jsonl", rows(COUNTS, 1, "noisy"))
    write_jsonl(folder / "test.jsonl", rows(dict.fromkeys(WORDS, 10), 2, "test"))
    return folder


@pytest.fixture(scope="session")
def make_rows():
    """Rows of given counts by topic."""
    return rows


@pytest.fixture(scope="module")
def browser():
    """Debian's chromium, driven by Playwright; tests are skipped where either is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install '.[dev]')")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium is installed (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def watched(browser):
    """Opens pages, each in a context of its own, and keeps what they ask for and what they complain of."""
    contexts, asked, said = [], [], []

    def begin(url, viewport, scheme, **options):
        context = browser.new_context(viewport=viewport, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(url)
        return page

    yield SimpleNamespace(open=begin, asked=asked, said=said)
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def tiny(corpus):
    """Settings of a fit that takes seconds."""
    quick = PhaseSettings(epochs=2, learning_rate=5e-3)
    return FitSettings(
        data=DataSettings(train=str(corpus / "train.jsonl"), noisy=str(corpus / "noisy.jsonl")),
        encoder=EncoderSettings(scratch=TINY, max_tokens=64, noisy=quick, clean=quick, trainer=TRAINER),
        decoder=DecoderSettings(
            scratch=TINY, max_tokens=64, max_target_tokens=16, noisy=quick, clean=quick, trainer=TRAINER
        ),
    )


@pytest.fixture(scope="session")
def fitted(tiny, tmp_path_factory):
    """The pipeline in memory and its bundle."""
    output = tmp_path_factory.mktemp("fit") / "bundle"
    return fit(tiny, output), output


@pytest.fixture(scope="session")
def texts(corpus):
    return [json.loads(line)["text"] for line in (corpus / "test.jsonl").read_text().splitlines()]
