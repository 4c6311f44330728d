from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unskew.balance import LossSettings, prior_from_loss
from unskew.common import UserError
from unskew.corpus import Record, Topics
from unskew.decoder import DecoderSettings, topic_prior_from_loss
from unskew.decoder.sampling import epoch_counts, make_sampler, make_topic_loss, validation_weights

COUNTS = st.lists(st.integers(1, 60), min_size=2, max_size=6)


def rows(counts):
    return [topic for topic, count in enumerate(counts) for _ in range(count)]


def records(counts):
    return [Record("x", str(i), f"t{topic}", "y") for i, topic in enumerate(rows(counts))]


def draw_of(settings, counts):
    topics = Topics(tuple(f"t{topic}" for topic in range(len(counts))), tuple(counts))
    ordered, sampler = make_sampler(settings, records(counts), topics, 0)
    assert ordered == records(counts)
    return sampler


@given(COUNTS, st.sampled_from([1.0, 2.0, 3.0, None]), st.integers(0, 3))
def test_half_of_the_rows_are_natural_and_half_are_balanced_with_the_token(counts, ratio, epoch):
    settings = DecoderSettings(fairness=True, sampling_ratio=ratio)
    targets, sampler = rows(counts), draw_of(settings, counts)
    assert sampler is not None
    views = sampler(epoch)
    natural = [view for view in views if view < len(targets)]
    fair = [view - len(targets) for view in views if view >= len(targets)]
    assert all(view < len(targets) for view in fair)
    for kind, shown in ((False, natural), (True, fair)):
        found = Counter(targets[view] for view in shown)
        assert [found[topic] for topic in range(len(counts))] == epoch_counts(settings, counts, kind)
    balanced = epoch_counts(settings, counts, fairness=True)
    assert max(balanced) <= (ratio or 3.0) * min(balanced)


def test_an_epoch_with_fairness_is_as_long_as_one_without_and_two_show_every_row():
    targets = rows([300, 40, 8])
    sampler = draw_of(DecoderSettings(fairness=True), [300, 40, 8])
    assert sampler is not None
    epochs = [sampler(epoch) for epoch in range(2)]
    assert [len(epoch) for epoch in epochs] == pytest.approx([len(targets)] * 2, abs=4)
    assert {view for epoch in epochs for view in epoch if view < len(targets)} == set(range(len(targets)))


def test_no_view_stands_twice_in_an_epoch():
    sampler = draw_of(DecoderSettings(fairness=True), [300, 2])
    assert sampler is not None
    assert max(Counter((int(view), view.repeat) for view in sampler(3)).values()) == 1  # pyright: ignore[reportAttributeAccessIssue]
    assert max(view.repeat for view in sampler(3)) > 0  # pyright: ignore[reportAttributeAccessIssue]


def test_without_either_every_row_comes_once():
    assert draw_of(DecoderSettings(), [5, 2]) is None
    assert epoch_counts(DecoderSettings(), [5, 2]) == [5, 2]


@pytest.mark.parametrize("fairness", [False, True])
def test_paraphrases_stand_in_for_repeats_in_both_kinds(fairness):
    topics = Topics(("t0", "t1"), (30, 2))
    others = [Record("said otherwise", f"s{i}", "t1", "y", paraphrase_of="30") for i in range(3)]
    settings = DecoderSettings(fairness=fairness, sampling_ratio=2.0, topic_loss=LossSettings(weights="none"))
    ordered, sampler = make_sampler(settings, [*records([30])[:3], *others, *records([30, 2])[3:]], topics, 0)
    assert sampler is not None
    assert ordered[-3:] == others
    shown = [view % len(ordered) for view in sampler(0) if not fairness or view >= len(ordered)]
    rare = Counter(ordered[row].id for row in shown if ordered[row].topic == "t1")
    said_otherwise = rare["s0"] + rare["s1"] + rare["s2"]
    assert said_otherwise > 0
    assert rare["30"] == 1 or said_otherwise == 3  # itself again only after all its paraphrases
    assert abs(rare["30"] + said_otherwise - rare["31"]) <= 1
    counts = epoch_counts(settings, [30, 2], fairness)  # a paraphrase makes no topic more frequent
    found = Counter(ordered[row].topic for row in shown)
    assert [found["t0"], found["t1"]] == counts
    assert topic_prior_from_loss(settings, ordered, topics, fairness)[0] == pytest.approx(counts[0] / sum(counts))


def test_without_repeats_a_paraphrase_is_a_row_like_any_other():
    topics = Topics(("t0", "t1"), (3, 1))
    ordered = [*records([3, 1]), Record("said otherwise", "s", "t1", "y", paraphrase_of="3")]
    settings = DecoderSettings(topic_loss=LossSettings(weights="none"))
    assert make_sampler(settings, ordered, topics, 0) == (ordered, None)
    assert topic_prior_from_loss(settings, ordered, topics) == pytest.approx((0.6, 0.4))


@pytest.mark.parametrize(
    ("settings", "fairness", "seen"),
    [
        ({}, False, [90, 10]),
        ({"sampling_ratio": 3.0}, False, [75, 25]),
        ({"fairness": True}, False, [45, 5]),
        ({"fairness": True}, True, [36, 12]),
        ({"fairness": True, "sampling_ratio": 1.0}, True, [25, 25]),
    ],
)
@pytest.mark.parametrize("name", ["cross_entropy", "logit_adjusted", "ldam"])
def test_the_implied_prior_is_of_the_rows_seen_and_the_loss(settings, fairness, seen, name):
    made = DecoderSettings(topic_loss=LossSettings(name, weights="none"), **settings)
    topics = Topics(("t0", "t1"), (500, 500))  # counts of a set, not of what was trained on
    found = topic_prior_from_loss(made, records([90, 10]), topics, fairness)
    assert epoch_counts(made, [90, 10], fairness) == pytest.approx(seen, abs=1)
    exact = epoch_counts(made, [90, 10], fairness)
    assert found == pytest.approx(prior_from_loss(LossSettings(name, weights="none"), exact).tolist())
    if name == "cross_entropy":
        assert found[0] == pytest.approx(exact[0] / sum(exact))
    loss = make_topic_loss(made, records([90, 10]), topics, fairness)
    assert loss is not None
    assert loss._counts.tolist() == exact


def test_held_out_rows_weigh_what_training_shows_of_them():
    topics = Topics(("t0", "t1"), (90, 10))
    assert validation_weights(DecoderSettings(), records([90, 10]), topics) == [[1.0, 1.0]]
    natural, fair = validation_weights(DecoderSettings(fairness=True, sampling_ratio=1.0), records([90, 10]), topics)
    assert natural == pytest.approx([1.0, 1.0])
    assert fair == pytest.approx([0.5 / 0.9, 0.5 / 0.1])


def test_rows_without_a_target_do_not_count():
    settings = DecoderSettings(topic_loss=LossSettings(weights="none"))
    rows = [*records([3, 1]), Record("x", "z", "t1"), Record("x", "z", "t1", " ")]
    assert topic_prior_from_loss(settings, rows, Topics(("t0", "t1"), (3, 3))) == pytest.approx((0.75, 0.25))


def test_priors_that_were_not_taught_are_refused():
    topics = Topics(("t0", "t1"), (3, 1))
    with pytest.raises(UserError, match="fit it with a topic_loss"):
        topic_prior_from_loss(DecoderSettings(), records([3, 1]), topics)
    with pytest.raises(UserError, match="--decoder.fairness true"):
        topic_prior_from_loss(DecoderSettings(topic_loss=LossSettings()), records([3, 1]), topics, fairness=True)
