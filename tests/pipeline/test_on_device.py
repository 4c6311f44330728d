"""The system on another device than the CPU, against itself there; UNSKEW_TEST_DEVICE names one, `make gpu` sets it."""

import json
import os

import pytest
import torch

from unskew.decoder import GenerationSettings
from unskew.jobs import predict
from unskew.pipeline import HybridPipeline

DEVICE = os.environ.get("UNSKEW_TEST_DEVICE") or ("cuda" if torch.cuda.is_available() else "")
pytestmark = pytest.mark.skipif(not DEVICE, reason="no GPU here, and UNSKEW_TEST_DEVICE names no device")
SHORT = GenerationSettings(max_new_tokens=8)


@pytest.fixture
def both(fitted):
    return [HybridPipeline.from_pretrained(fitted[1], device, precision="float32") for device in ("cpu", DEVICE)]


def test_topics_and_probabilities_are_those_of_the_cpu(both, texts):
    expected, found = (list(pipe(texts, generation=SHORT)) for pipe in both)
    assert [row.topic for row in found] == [row.topic for row in expected]
    for row, other in zip(found, expected, strict=True):
        assert row.topics == pytest.approx(other.topics, abs=1e-3)


def test_outputs_are_those_of_the_cpu(both, texts):
    topics = [both[0].topics.names[i % len(both[0].topics)] for i in range(len(texts))]
    expected, found = (pipe.write(texts, topics, SHORT) for pipe in both)
    assert sum(a == b for a, b in zip(found, expected, strict=True)) >= 0.9 * len(texts)  # a near tie may round over


def test_the_pipeline_writes_what_its_stages_write(both, texts):
    pipe = both[1]
    rows = list(pipe(texts, generation=SHORT, window=3))
    assert [row.output for row in rows] == pipe.write(texts, [row.topic for row in rows], SHORT)


def test_a_job_gives_the_same_rows_twice(fitted, texts, tmp_path):
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    for name in ("one", "two"):
        paths = str(tmp_path / "in.jsonl"), tmp_path / f"{name}.jsonl"
        predict(fitted[1], *paths, device=DEVICE, generation=SHORT, progress="none")
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
