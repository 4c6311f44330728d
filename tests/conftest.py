"""A system fitted on the spot, small enough for every test that needs one to share it."""

import json
import random

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
