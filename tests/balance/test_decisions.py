"""Offsets, costs and confidence: by hand, against what they promise, and what is refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import settings as options
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score

from unskew.balance import (
    UNDECIDED,
    Decision,
    threshold_for_accuracy,
    threshold_for_undecided,
    tune_offsets,
)
from unskew.common import UserError

PRIOR = torch.tensor([0.8, 0.15, 0.05], dtype=torch.float64)


def drawn(rows, seed, sharp=1.5):
    """Calibrated probabilities under a skewed prior, and topics."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.multinomial(PRIOR, rows, True, generator=generator)
    centres = sharp * torch.eye(3).double()
    points = centres[targets] + torch.randn(rows, 3, generator=generator).double()
    return (points @ centres.T + PRIOR.log()).softmax(-1), targets


@pytest.mark.parametrize("measure", ["macro_f1", "balanced_accuracy"])
def test_tuned_offsets_are_better_on_new_rows(measure):
    probabilities, targets = drawn(3000, 0)
    tuned = tune_offsets(probabilities, targets, measure)
    assert tuned.kept
    assert tuned.after > tuned.before
    new, truth = drawn(4000, 1)
    score = balanced_accuracy_score if measure == "balanced_accuracy" else lambda t, d: f1_score(t, d, average="macro")
    plain, decided = (decision(new).numpy() for decision in (Decision(), Decision(offsets=tuned.offsets)))
    assert score(truth, decided) > score(truth, plain) + (0.02 if measure == "balanced_accuracy" else 0.005)
    assert score(truth, decided) == pytest.approx(tuned.after, abs=0.06)
    if measure == "balanced_accuracy":  # the best offsets are known: the log prior, taken off
        best = (-PRIOR.log()).numpy()
        assert tuned.offsets[2] - tuned.offsets[0] == pytest.approx(best[2] - best[0], abs=1.0)


def test_offsets_that_do_not_help_are_left_out():
    probabilities = torch.eye(3).double()[torch.arange(30) % 3]
    tuned = tune_offsets(probabilities, torch.arange(30) % 3, "macro_f1")
    assert not tuned.kept
    assert tuned.offsets == (0, 0, 0)
    assert tuned.before == tuned.after == 1


def test_expected_cost_decides():
    # To call topic 1 topic 0 costs ten: decided for 1 from a probability of 1/11 on.
    decision = Decision(costs=((0.0, 1.0), (10.0, 0.0)))
    assert decision(torch.tensor([[0.92, 0.08], [0.9, 0.1], [0.2, 0.8]])).tolist() == [0, 1, 1]


@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=4))
def test_equal_costs_decide_for_the_most_probable(shares):
    rows = torch.tensor([shares]).double() / sum(shares)
    decision = Decision(costs=tuple(tuple(float(i != j) for j in range(4)) for i in range(4)))
    chosen = rows[0, int(decision(rows)[0])].item()
    assert chosen == pytest.approx(rows.max().item())


def test_undecided_is_per_topic():
    decision = Decision(least=(0.9, 0.5))
    decided = decision(torch.tensor([[0.8, 0.2], [0.95, 0.05], [0.4, 0.6]]))
    assert decided.tolist() == [UNDECIDED, 0, 1]


def test_a_threshold_for_an_accuracy_keeps_its_promise():
    """Over many held-out sets the true accuracy from the threshold on is too low in at most about 5% of them."""
    new, truth = drawn(40_000, 99)
    confidence, decided = new.max(-1)
    short, chosen = 0, []
    for seed in range(120):
        found = threshold_for_accuracy(*drawn(400, seed), 0.9)
        kept = confidence >= found.value
        short += (decided[kept] == truth[kept]).double().mean().item() < 0.9
        chosen.append(found)
    assert short <= 12
    assert sum(found.undecided for found in chosen) / len(chosen) < 0.6  # and not by deciding nothing
    assert all(low <= found.accuracy <= high for found in chosen for low, high in [found.accuracy_interval])


@options(deadline=None)
@given(st.floats(0, 0.9))
def test_a_threshold_for_a_share_leaves_that_share(share):
    found = threshold_for_undecided(*drawn(500, 3), share)
    assert found.undecided == pytest.approx(share, abs=0.01)
    assert found.undecided_interval[0] <= found.undecided <= found.undecided_interval[1]


def test_mistakes_are_named():
    probabilities, targets = drawn(50, 0)
    with pytest.raises(UserError, match="no confidence makes decisions right in 99.0%"):
        threshold_for_accuracy(probabilities, targets, 0.99)
    with pytest.raises(UserError, match="must lie in"):
        threshold_for_accuracy(probabilities, targets, 1.0)
    with pytest.raises(UserError, match="must lie in"):
        threshold_for_undecided(probabilities, targets, 1.0)
    with pytest.raises(UserError, match="two ways"):
        Decision(offsets=(0.0, 1.0), costs=((0.0, 1.0), (1.0, 0.0)))
    with pytest.raises(UserError, match="different numbers of topics"):
        Decision(offsets=(0.0, 1.0), least=(0.5,))
    with pytest.raises(UserError, match="needs rows"):
        tune_offsets(probabilities[:3], targets[:3], "macro_f1")
    with pytest.raises(UserError, match="no probabilities"):
        Decision()(torch.tensor([[torch.nan, 1.0]]))
