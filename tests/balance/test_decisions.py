"""Offsets, costs and confidence: by hand, against what they promise, and what is refused."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import settings as options
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score

from unskew.balance import (
    UNDECIDED,
    Decision,
    DecisionSettings,
    FittedDecision,
    HeldOutRows,
    fit_decision,
    threshold_for_accuracy,
    threshold_for_undecided,
    tune_offsets,
)
from unskew.balance.calibration import share_weights
from unskew.balance.decisions import STEPS, SWEEPS, _ascended, _measured
from unskew.common import UserError
from unskew.corpus import Topics

PRIOR = torch.tensor([0.8, 0.15, 0.05], dtype=torch.float64)


def drawn(rows, seed, sharp=1.5):
    """Calibrated probabilities under a skewed prior, and topics."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(PRIOR, rows, True, generator=generator)
    centres = sharp * torch.eye(3).double()
    points = centres[labels] + torch.randn(rows, 3, generator=generator).double()
    return (points @ centres.T + PRIOR.log()).softmax(-1), labels


@pytest.mark.parametrize("metric", ["macro_f1", "balanced_accuracy"])
def test_tuned_offsets_are_better_on_new_rows(metric):
    probabilities, labels = drawn(3000, 0)
    tuned = tune_offsets(probabilities, labels, metric)
    assert tuned.kept
    assert tuned.after > tuned.before
    new, truth = drawn(4000, 1)
    score = balanced_accuracy_score if metric == "balanced_accuracy" else lambda t, d: f1_score(t, d, average="macro")
    plain, decided = (decision(new).numpy() for decision in (Decision(), Decision(offsets=tuned.offsets)))
    assert score(truth, decided) > score(truth, plain) + (0.02 if metric == "balanced_accuracy" else 0.005)
    assert score(truth, decided) == pytest.approx(tuned.after, abs=0.06)
    if metric == "balanced_accuracy":  # the best offsets are known: the log prior, taken off
        best = (-PRIOR.log()).numpy()
        assert tuned.offsets[2] - tuned.offsets[0] == pytest.approx(best[2] - best[0], abs=1.0)


@options(deadline=None, max_examples=10)
@given(st.integers(0, 10_000))
def test_offsets_are_those_of_a_search_that_decides_every_row_each_time(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (60,), generator=generator)
    log_p = (torch.randn(60, 5, generator=generator).double() * 2).log_softmax(-1)
    offsets, weights = torch.zeros(5).double(), torch.rand(60, generator=generator).double()
    for _ in range(SWEEPS):
        for topic in range(5):
            moved = [torch.where(torch.arange(5) == topic, step, offsets) for step in STEPS]
            values = [_measured((log_p + own).argmax(-1), labels, weights, 5, "macro_f1").item() for own in moved]
            good = [step.item() for step, value in zip(STEPS, values, strict=True) if value >= max(values) - 1e-12]
            offsets[topic] = min(good, key=abs)
    assert _ascended(log_p, labels, weights, "macro_f1").tolist() == offsets.tolist()


def test_offsets_that_do_not_help_are_left_out():
    probabilities = torch.eye(3).double()[torch.arange(30) % 3]
    tuned = tune_offsets(probabilities, torch.arange(30) % 3, "macro_f1")
    assert not tuned.kept
    assert tuned.offsets == (0, 0, 0)
    assert tuned.before == tuned.after == 1


def test_expected_cost_decides():
    # To call topic 1 topic 0 costs ten: decided for 1 from a probability of 1/11 on.
    decision = Decision(costs=((1, 0, 10.0),))
    assert decision(torch.tensor([[0.92, 0.08], [0.9, 0.1], [0.2, 0.8]])).tolist() == [0, 1, 1]


@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=4))
def test_equal_costs_decide_for_the_most_probable(shares):
    rows = torch.tensor([shares]).double() / sum(shares)
    decision = Decision(costs=tuple((i, j, float(i != j)) for j in range(4) for i in range(4)))
    chosen = rows[0, int(decision(rows)[0])].item()
    assert chosen == pytest.approx(rows.max().item())


@given(st.integers(0, 10_000))
def test_costs_decide_as_their_matrix_does(seed):
    chance = torch.Generator().manual_seed(seed)
    rows = torch.rand(20, 6, generator=chance).double()
    rows /= rows.sum(-1, keepdim=True)
    pairs = [(*torch.randint(6, (2,), generator=chance).tolist(), cost) for cost in (0.0, 0.3, 4.0, 1e30)]
    matrix = 1 - torch.eye(6).double()
    for true, decided, cost in pairs:
        matrix[true, decided] = cost
    assert Decision(costs=tuple(pairs))(rows).tolist() == (rows @ matrix).argmin(-1).tolist()


def test_few_costs_of_many_topics_are_few_numbers(monkeypatch):
    topics = Topics(tuple(f"t{i}" for i in range(2000)), (1,) * 2000)
    found = fit_decision(DecisionSettings(costs={"t3": {"t4": 20}}), topics)
    assert len(json.dumps(found.to_dict())) < 1000
    rows = torch.full((2, 2000), 1 / 2000)
    first = found.decision(rows)
    monkeypatch.setattr(torch, "tensor", None)  # nothing is converted again
    assert torch.equal(found.decision(rows), first)


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
    probabilities, labels = drawn(50, 0)
    with pytest.raises(UserError, match="no confidence threshold reaches an accuracy of 99.0%"):
        threshold_for_accuracy(probabilities, labels, 0.99)
    with pytest.raises(UserError, match="must be in"):
        threshold_for_accuracy(probabilities, labels, 1.0)
    with pytest.raises(UserError, match="must be in"):
        threshold_for_undecided(probabilities, labels, 1.0)
    with pytest.raises(UserError, match="cannot have both"):
        Decision(offsets=(0.0, 1.0), costs=((1, 0, 10.0),))
    with pytest.raises(UserError, match="a cost is not"):
        Decision(costs=((0.0, 1.0), (10.0, 0.0)))
    with pytest.raises(UserError, match="different numbers of topics"):
        Decision(offsets=(0.0, 1.0), least=(0.5,))
    with pytest.raises(UserError, match="needs rows"):
        tune_offsets(probabilities[:3], labels[:3], "macro_f1")
    with pytest.raises(UserError, match="not have probabilities"):
        Decision()(torch.tensor([[torch.nan, 1.0]]))


def test_a_threshold_holds_in_the_shares_that_weights_give():
    """Held-out rows of a skewed set, and a job with all topics alike."""

    def under_uniform(rows, seed):
        probabilities, labels = drawn(rows, seed)
        moved = probabilities / PRIOR
        return moved / moved.sum(-1, keepdim=True), labels

    new, truth = under_uniform(20_000, 99)
    alike = share_weights(truth, torch.ones(3).double())
    confidence, decided = new.max(-1)
    short = 0
    for seed in range(40):
        rows = under_uniform(900, seed)
        found = threshold_for_accuracy(*rows, 0.7, weights=share_weights(rows[1], torch.ones(3).double()))
        kept = confidence >= found.value
        right = (decided == truth).double() * alike
        short += (right[kept].sum() / alike[kept].sum()).item() < 0.7
    assert short <= 6


def test_weights_that_are_alike_change_nothing():
    rows = drawn(300, 0)
    same = torch.full((300,), 0.37)
    assert threshold_for_accuracy(*rows, 0.8).value == threshold_for_accuracy(*rows, 0.8, weights=same).value
    assert threshold_for_undecided(*rows, 0.2).value == threshold_for_undecided(*rows, 0.2, weights=same).value


@options(deadline=None, max_examples=10)
@given(st.integers(0, 10_000))
def test_the_measures_tuned_for_are_scikit_learns(seed):
    generator = torch.Generator().manual_seed(seed)
    labels, decided = torch.randint(4, (2, 40), generator=generator)
    labels[:4] = torch.arange(4)
    weights = torch.rand(40, generator=generator).double()
    found = {m: _measured(decided, labels, weights, 4, m).item() for m in ("macro_f1", "balanced_accuracy")}
    given = {"sample_weight": weights.numpy()}
    assert found["macro_f1"] == pytest.approx(f1_score(labels, decided, average="macro", **given))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, decided, **given))


TOPICS = Topics(("a", "b", "c"), (80, 15, 5))


def test_what_is_asked_for_becomes_a_decision_and_survives_json():
    probabilities, labels = drawn(2000, 0)
    asked = DecisionSettings(tune="balanced_accuracy", accuracy=0.8, min_confidence={"c": 0.9})
    found = fit_decision(asked, TOPICS, probabilities, labels)
    assert found.decision.offsets == found.tuned.offsets
    assert found.decision.least == (found.threshold.value, found.threshold.value, 0.9)
    assert FittedDecision.from_dict(json.loads(json.dumps(found.to_dict())), TOPICS) == found
    costly = fit_decision(DecisionSettings(costs={"c": {"a": 20}}), TOPICS)
    assert costly.decision.costs == ((2, 0, 20),)
    stored = json.loads(json.dumps(costly.to_dict()))
    assert FittedDecision.from_dict(stored, TOPICS) == costly
    earlier = {**stored, "costs": [[0, 1, 1], [1, 0, 1], [20, 1, 0]]}
    assert FittedDecision.from_dict(earlier, TOPICS) == costly
    assert "balanced accuracy kept" in str(found)
    assert "undecided" in str(found)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tune": "accuracy"}, "tune is 'accuracy'"),
        ({"tune": "macro_f1", "costs": {"a": {"b": 2}}}, "cannot be combined"),
        ({"accuracy": 0.9, "undecided": 0.1}, "leave one out"),
        ({"accuracy": 1.0}, "accuracy is 1.0"),
        ({"min_confidence": float("nan")}, "min_confidence is nan"),
        ({"min_confidence": {"a": 2}}, "min_confidence is 2"),
        ({"costs": {"a": {"b": -1}}}, "a cost is -1"),
        ({"costs": {"a": {"b": 10**400}}}, "a cost is 1000"),
        ({"costs": {"a": 1.0}}, "costs are {'a': 1.0}, must be {true topic: {decided topic: cost}}"),
        ({"costs": [1.0]}, r"costs are \[1.0\], must be"),
        ({"accuracy": "0.9"}, "accuracy is '0.9', must be a number"),
        ({"min_confidence": "0.5"}, "min_confidence is '0.5', must be a number"),
        ({"min_confidence": {"a": None}}, "min_confidence is None, must be a number"),
    ],
)
def test_settings_that_make_no_decision(settings, said):
    with pytest.raises(UserError, match=said):
        DecisionSettings(**settings)


def test_kept_rows_are_few_and_rare_topics_keep_theirs():
    labels = torch.tensor([0] * 9000 + [1] * 90 + [2] * 9)
    logits = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0)) * 9
    rows = HeldOutRows.kept_of(logits, labels)
    assert torch.bincount(rows.labels.long()).tolist() == [4901, 90, 9]
    torch.testing.assert_close(rows.logits[-1].float().exp(), logits[-1].softmax(-1), rtol=0.01, atol=1e-3)
    assert len(HeldOutRows.kept_of(torch.zeros(3000, 1000), torch.arange(3000) % 1000).labels) == 2097
