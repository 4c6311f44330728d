"""Output measures: by hand, and what the judge is for."""

import pytest

from unskew.evaluation import TopicJudge, text_measures


def test_by_hand():
    measures = text_measures(["a b c d", "x"], ["a b c e", "x"])
    assert measures["rouge1"] == pytest.approx((0.75 + 1) / 2)
    assert measures["rouge2"] == pytest.approx((2 / 3 + 0) / 2)
    assert measures["rougeL"] == pytest.approx((0.75 + 1) / 2)
    assert measures["exact"] == 0.5


def test_equal_texts_are_perfect():
    measures = text_measures(["the ship sails at 6"] * 2, ["the ship sails at 6"] * 2)
    assert measures == pytest.approx(dict.fromkeys(measures, 1.0))


def test_other_scripts_count():
    measures = text_measures(["курс рубля вырос", "el café abrió"], ["курс рубля упал", "el café abrió"])
    assert measures["rouge1"] == pytest.approx((2 / 3 + 1) / 2)


def test_judge_reads_the_topic_off_an_output():
    judge = TopicJudge().fit(
        ["ship docks", "ship sails", "corn grows", "corn ripens"] * 3, ["sea", "sea", "farm", "farm"] * 3
    )
    assert judge.fit_share(["a ship", "the corn", "a ship"], ["sea", "farm", "farm"]) == pytest.approx(2 / 3)
