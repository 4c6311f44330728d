"""Judges of what topic an output reads like, by hand."""

import pytest

from unskew.decoder import FrameJudge, TopicJudge, are_slot_frames, make_judge, parse_frame

FRAMES = ["city=rome; timeRange=today", "object_name=the sea; rating_value=4", "city=oslo", "none"]
TOPICS = ["weather", "books", "weather", "books"]


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("city=rome; time=now", [("city", "rome"), ("time", "now")]),
        ("time=at a=b", [("time", "at a=b")]),
        ("none", [("none", "")]),
        ("no slot; city=rome", [("no slot", ""), ("city", "rome")]),
        ("", []),
        (" ; ", []),
    ],
)
def test_frames_are_read(text, pairs):
    assert parse_frame(text) == pairs


def test_slot_frames_are_told_from_sentences():
    assert are_slot_frames(FRAMES)
    assert not are_slot_frames([*FRAMES, "Rain in Rome"])
    assert not are_slot_frames(["none", "none"])  # a word, as any other
    assert not are_slot_frames(["x=1 is an equation; so they say"])


def test_slots_are_those_of_a_topic_in_training():
    judge = make_judge(FRAMES, TOPICS)
    assert isinstance(judge, FrameJudge)
    outputs = ["city=bonn", "city=bonn; rating_value=3", "city=bonn", "none", "", "rain"]
    given = ["weather", "weather", "books", "books", "books", "weather"]
    assert judge.fit_share(outputs, given) == pytest.approx((1 + 0.5 + 0 + 1 + 0 + 0) / 6)
    assert judge.fit_share(["city=bonn"], ["a topic without training rows"]) == 0


def test_sentences_are_judged_by_their_words():
    targets = ["ship docks", "ship sails", "corn grows", "corn ripens"] * 3
    judge = make_judge(targets, ["sea", "sea", "farm", "farm"] * 3)
    assert isinstance(judge, TopicJudge)
    assert judge.fit_share(["a ship", "the corn", "a ship"], ["sea", "farm", "farm"]) == pytest.approx(2 / 3)
    topic_tokens = make_judge(["A", "B", "?", "B"], ["x", "y", "z", "y"])
    assert topic_tokens.fit_share(["A", "B", "?"], ["x", "y", "z"]) == 1


def test_of_many_topics_only_the_most_frequent_words_are_learnt(monkeypatch):
    monkeypatch.setattr("unskew.decoder.judges._MOST_WEIGHTS", 4)
    targets = ["ship docks", "ship sails", "corn grows", "corn ripens"] * 3
    judge = make_judge(targets, ["sea", "sea", "farm", "farm"] * 3)
    assert judge.fit_share(["ship", "corn"], ["sea", "farm"]) == 1
    rare = ["docks", "sails", "grows", "ripens"]  # each as if it had no words
    assert judge.fit_share(rare, ["sea"] * 4) in (0, 1)
