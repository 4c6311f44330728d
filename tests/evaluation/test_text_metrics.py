"""Output metrics: by hand, and what the judge is for."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from unskew.evaluation import score_texts


def test_by_hand():
    metrics = score_texts(["a b c d", "x"], ["a b c e", "x"])
    assert metrics["rouge1"] == pytest.approx((0.75 + 1) / 2)
    assert metrics["rouge2"] == pytest.approx((2 / 3 + 0) / 2)
    assert metrics["rougeL"] == pytest.approx((0.75 + 1) / 2)
    assert metrics["exact"] == 0.5


def test_equal_texts_are_perfect():
    metrics = score_texts(["the ship sails at 6"] * 2, ["the ship sails at 6"] * 2)
    assert metrics == pytest.approx(dict.fromkeys(metrics, 1.0))


def test_other_scripts_count():
    metrics = score_texts(["курс рубля вырос", "el café abrió"], ["курс рубля упал", "el café abrió"])
    assert metrics["rouge1"] == pytest.approx((2 / 3 + 1) / 2)


def test_an_accent_changes_no_other_word():
    assert score_texts(["ships sailing to the café"], ["the ships sailed to a cafe"])["rouge1"] == pytest.approx(8 / 11)
    curly, straight = (score_texts([f"the captain{mark}s ships é"], ["the captain's ships"]) for mark in "’'")
    assert curly["rouge2"] == straight["rouge2"] > 0.7


@given(st.lists(st.text(string.printable, max_size=40), min_size=2, max_size=2))
def test_ascii_is_scored_as_rouge_score_does(texts):
    output, target = texts
    reference = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True).score(target, output)
    metrics = score_texts([output], [target])
    assert [metrics[name] for name in reference] == [score.fmeasure for score in reference.values()]


def test_slots_are_counted_over_all_rows():
    targets = ["city=rome; time=now", "none", "city=oslo"]
    outputs = ["time=now; city=rome", "city=bonn", "city=oslo; city=oslo"]
    # right: 2 + 0 + 1 of 2 + 1 + 2 written and 2 + 1 + 1 wanted
    assert score_texts(outputs, targets)["slot_f1"] == pytest.approx(2 * 3 / (5 + 4))
    assert "slot_f1" not in score_texts(["rain"], ["rain in rome"])
