"""Obedience of a fitted system: what is measured, stored and said, and what is refused."""

import json
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from unskew.common import UserError
from unskew.corpus import Record
from unskew.decoder import GenerationSettings
from unskew.evaluation import evaluate, obedience, print_evaluation
from unskew.pipeline import HybridPipeline

WORDS = ("farm", "sea")
TRAINED = [Record(f"text {i}", f"t{i}", WORDS[i % 2], f"{WORDS[i % 2]} desk {i}") for i in range(8)]
HELD_OUT = [Record(f"held {i}", f"h{i}", WORDS[i % 2], f"{WORDS[i % 2]} desk 9") for i in range(4)]


def test_it_is_stored_and_shown(fitted, corpus, tmp_path):
    where, train = tmp_path / "out", str(corpus / "train.jsonl")
    short = GenerationSettings(max_new_tokens=6)
    found = evaluate(fitted[0], str(corpus / "test.jsonl"), where, train=train, generation=short, obedience=True)
    stored = json.loads((where / "evaluation.json").read_text())["obedience"]
    assert stored == found.obedience
    assert set(stored) == {"right", "decided", "wrong", "targets"}
    assert stored["targets"]["rows"] == 30
    assert stored["targets"]["topic_fit"] < 0.1  # targets read like their own topic
    assert stored["targets"]["true_fit"] > 0.9
    for kind in ("right", "decided", "wrong"):
        assert {"topic_fit", "true_fit", "rougeL", "chrf", "exact"} <= set(stored[kind])
        assert all(0 <= value <= 1 for value in stored[kind].values())
    shown = StringIO()
    print_evaluation(found, Console(file=shown, width=160))
    assert "Obedience, 30 texts" in shown.getvalue()


def test_what_it_needs(fitted, corpus, tmp_path):
    with pytest.raises(UserError, match="give --train"):
        evaluate(fitted[0], str(corpus / "test.jsonl"), tmp_path / "out", obedience=True)
    assert not (tmp_path / "out").exists()
    silent = HybridPipeline(fitted[0].encoder, None, fitted[0].corrector)
    with pytest.raises(UserError, match="this bundle has no decoder"):
        obedience(silent, HELD_OUT, TRAINED)
    with pytest.raises(UserError, match="at least two topics"):
        obedience(fitted[0], [replace(record, target=None) for record in HELD_OUT], TRAINED)
