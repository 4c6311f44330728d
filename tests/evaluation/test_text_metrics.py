"""Output metrics: by hand, and what the judge is for."""

import pytest

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


def test_slots_are_counted_over_all_rows():
    targets = ["city=rome; time=now", "none", "city=oslo"]
    outputs = ["time=now; city=rome", "city=bonn", "city=oslo; city=oslo"]
    # right: 2 + 0 + 1 of 2 + 1 + 2 written and 2 + 1 + 1 wanted
    assert score_texts(outputs, targets)["slot_f1"] == pytest.approx(2 * 3 / (5 + 4))
    assert "slot_f1" not in score_texts(["rain"], ["rain in rome"])
