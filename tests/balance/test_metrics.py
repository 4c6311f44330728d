import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss, recall_score
from torchmetrics.functional.classification import multiclass_calibration_error

from unskew.balance import prior_pull, reliability, shares_shifted, topic_metrics, topic_recall
from unskew.balance.confusion import (
    _pearson_moments,
    errors_to_frequent,
    errors_to_frequent_by_chance,
    true_topic_counts,
)
from unskew.balance.metrics import band_calibration_error, marginal_divergence
from unskew.common import UserError

TRAIN = [500, 60, 19, 5]


def rows(seed, n=300, topics=4, present=4):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, present, (n,), generator=generator)
    logits = torch.randn(n, topics, generator=generator)
    logits[torch.arange(n), labels] += 1.0
    return logits.double().softmax(-1), labels


def decided(shares, per=100):
    """One-hot probabilities of so many decisions for each topic."""
    return torch.eye(len(shares)).double().repeat_interleave(torch.tensor([round(per * s) for s in shares]), dim=0)


@pytest.mark.parametrize("seed", range(3))
def test_against_scikit_learn_and_torchmetrics(seed):
    probabilities, labels = rows(seed)
    decisions = probabilities.argmax(-1)
    got = topic_metrics(probabilities, labels, TRAIN)
    assert got["accuracy"] == pytest.approx(accuracy_score(labels, decisions))
    assert got["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, decisions))
    assert got["macro_f1"] == pytest.approx(f1_score(labels, decisions, average="macro"))
    assert got["nll"] == pytest.approx(log_loss(labels, probabilities, labels=range(4)))
    expected = multiclass_calibration_error(probabilities, labels, num_classes=4, n_bins=15, norm="l1").item()
    assert got["ece"] == pytest.approx(expected, abs=1e-6)
    recalls = recall_score(labels, decisions, average=None)
    assert topic_recall(probabilities, labels).tolist() == pytest.approx(list(recalls))
    assert got["worst_topic_recall"] == pytest.approx(min(recalls))
    assert got["recall_many"] == pytest.approx(recalls[0])
    assert got["recall_medium"] == pytest.approx(recalls[1])
    assert got["recall_few"] == pytest.approx((recalls[2] + recalls[3]) / 2)


def test_topics_without_rows_are_left_out_of_macro_recall():
    probabilities, labels = rows(0, present=3)
    decisions = probabilities.argmax(-1)
    got = topic_metrics(probabilities, labels, TRAIN)
    recalls = recall_score(labels, decisions, labels=[0, 1, 2], average=None)
    assert topic_recall(probabilities, labels)[3].isnan()
    assert got["balanced_accuracy"] == pytest.approx(recalls.mean())
    assert got["recall_few"] == pytest.approx(recalls[2])
    # Topic 3 was decided, so it counts as an F1 of 0, as in scikit-learn.
    assert got["macro_f1"] == pytest.approx(f1_score(labels, decisions, average="macro"))


def test_absent_bands_are_none_and_the_rest_is_json():
    probabilities, labels = rows(0)
    got = topic_metrics(probabilities, labels, [500, 400, 300, 200])
    assert got["recall_few"] is None
    assert got["ece_few"] is None
    assert json.loads(json.dumps(got, allow_nan=False)) == got


def test_a_probability_of_zero_keeps_the_nll_finite():
    got = topic_metrics(torch.tensor([[1.0, 0.0]]), torch.tensor([1]), [10, 10])
    assert got["nll"] == pytest.approx(87.3, abs=0.1)


def test_calibration_error_by_hand():
    # Two rows at 0.9 of which one is right, two at 0.6 both right: (2 |0.5 - 0.9| + 2 |1 - 0.6|) / 4.
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    labels = torch.tensor([0, 1, 1, 1])
    assert topic_metrics(probabilities, labels, [200, 5])["ece"] == pytest.approx(0.4)
    bands = band_calibration_error(probabilities, labels, [200, 5])
    assert bands["many"] == pytest.approx(0.4)
    assert bands["few"] == pytest.approx(0.4)
    assert math.isnan(bands["medium"])


def test_prior_pull_is_none_for_the_truth_and_one_for_a_copy():
    train, true = [800, 150, 50], torch.arange(3).repeat_interleave(torch.tensor([500, 300, 200]))
    right = torch.eye(3).double()[true]
    assert prior_pull(right, true, train) == pytest.approx(0)
    copies = [torch.arange(3).repeat_interleave(torch.tensor([16, 3, 1]) * rows // 20) for rows in (500, 300, 200)]
    copied = torch.eye(3).double()[torch.cat(copies)]  # whatever the topic
    assert prior_pull(copied, true, train) == pytest.approx(1, abs=1e-6)
    assert prior_pull(decided([8, 1.5, 0.5]), true, train) == pytest.approx(1, abs=0.02)


def test_prior_pull_by_hand():
    # Two topics: slope = [log(q0/q1) - log(t0/t1)] / [log(p0/p1) - log(t0/t1)].
    true = torch.arange(2).repeat_interleave(99)
    probabilities = decided([1.32, 0.66])
    expected = math.log(132.5 / 66.5) / math.log(300.5 / 100.5)
    assert prior_pull(probabilities, true, [300, 100]) == pytest.approx(expected)


def test_prior_pull_is_undefined_where_nothing_pulls():
    probabilities, labels = rows(0)
    counts = torch.bincount(labels).tolist()
    assert math.isnan(prior_pull(probabilities, labels, counts))
    assert topic_metrics(probabilities, labels, counts)["prior_pull"] is None


def test_marginal_divergence_by_hand():
    true = torch.tensor([0] * 9 + [1] * 9)
    probabilities = decided([0.14, 0.04])
    expected = 0.5 * math.log(0.5 / (14.5 / 19)) + 0.5 * math.log(0.5 / (4.5 / 19))
    assert marginal_divergence(probabilities, true) == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.permutations(range(4)))
def test_measures_do_not_depend_on_the_order_of_topics(seed, order):
    probabilities, labels = rows(seed, n=40)
    inverse = torch.tensor(order).argsort()
    moved = topic_metrics(probabilities[:, order], inverse[labels], [TRAIN[position] for position in order])
    expected = topic_metrics(probabilities, labels, TRAIN)
    assert {name: pytest.approx(value) for name, value in expected.items()} == moved


@pytest.mark.parametrize(
    ("probabilities", "labels", "counts", "message"),
    [
        (torch.zeros(0, 2), torch.zeros(0).long(), [1, 1], "no rows"),
        (torch.tensor([[2.0, 1.0]]), torch.tensor([0]), [1, 1], "row 0 of the probabilities sums to 3"),
        (torch.tensor([[1.5, -0.5]]), torch.tensor([0]), [1, 1], "not probabilities"),
        (torch.tensor([[math.nan, 1.0]]), torch.tensor([0]), [1, 1], "not probabilities"),
        (torch.tensor([[0.5, 0.5]]), torch.tensor([2]), [1, 1], "labels must be in 0..1"),
        (torch.tensor([[0.5, 0.5]]), torch.tensor([0, 1]), [1, 1], "do not fit"),
        (torch.tensor([[0.5, 0.5]]), torch.tensor([0]), [1, 1, 1], "3 training counts for 2 topics"),
    ],
)
def test_mistakes_are_named(probabilities, labels, counts, message):
    with pytest.raises(UserError, match=message):
        topic_metrics(probabilities, labels, counts)


@pytest.mark.parametrize("topics", [2, 12, 52])
def test_rows_in_the_training_shares_are_seldom_taken_for_shifted(topics):
    generator = torch.Generator().manual_seed(0)
    prior = torch.logspace(0, -2, topics)
    train, found = torch.distributions.Multinomial(2000, prior), 0
    for seed in range(200):
        torch.manual_seed(seed)
        counts = train.sample()
        rows = torch.multinomial(prior, 600, replacement=True, generator=generator).bincount(minlength=topics)
        found += shares_shifted(rows, counts)
    assert found <= 30


@pytest.mark.parametrize("topics", [2, 12, 52])
def test_other_shares_are_told_from_those_of_training(topics):
    train = (1000 * torch.logspace(0, -2, topics)).round()
    assert shares_shifted([20] * topics, train)
    assert shares_shifted(train.flip(0), train)
    assert not shares_shifted(train, train)


def test_homogeneity_moments_are_those_of_all_tables_with_the_margins():
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.tensor([12.0, 18.0]).double(), torch.tensor([1, 2, 4, 8, 15])
    topics = torch.arange(5).repeat_interleave(columns)
    statistics = []
    for _ in range(4000):
        first = torch.bincount(topics[torch.randperm(30, generator=generator)[:12]], minlength=5).double()
        table = torch.stack([first, columns - first])
        expected = rows[:, None] * columns / 30
        statistics.append(((table - expected) ** 2 / expected).sum())
    mean, variance = _pearson_moments(torch.tensor(30.0).double(), rows, columns.double())
    assert torch.stack(statistics).mean().item() == pytest.approx(mean.item(), rel=0.03)
    assert torch.stack(statistics).var().item() == pytest.approx(variance.item(), rel=0.06)


def test_chance_is_taken_out_of_true_counts():
    train = [1000, 100, 10, 10, 10]
    alike = torch.diag(torch.tensor([12.0, 9, 11, 8, 10])).double()
    torch.testing.assert_close(true_topic_counts(alike, train), torch.full((5,), 10.0).double(), rtol=0.15, atol=0)
    own = torch.diag(torch.tensor([100.0, 5000, 3000, 100, 2000])).double()  # no chance: shares of its own
    torch.testing.assert_close(true_topic_counts(own, train), own.diagonal(), rtol=0.02, atol=0)


def test_errors_to_frequent_topics_by_hand():
    rows = torch.tensor([[5.0, 1, 0], [3, 5, 1], [2, 0, 5]]).double()
    train = [100, 10, 10]
    # Wrong: 1 from 0 to rarer 1; 3 from 1 to 0; 1 from 1 to 2, as frequent; 2 from 2 to 0.
    assert errors_to_frequent(rows, train).item() == pytest.approx((3 + 0.5 + 2) / 7)
    assert errors_to_frequent_by_chance(rows, train).item() == pytest.approx((1 * 0 + 4 * 0.75 + 2 * 0.75) / 7)


def test_reliability_is_that_of_scikit_learn():
    confidence = torch.rand(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.7 + 0.3
    right = torch.rand(200, generator=torch.Generator().manual_seed(1)) < confidence
    mean, shares, rows = zip(*reliability(confidence, right), strict=True)
    expected_shares, expected_mean = calibration_curve(right.numpy(), confidence.numpy(), n_bins=10)
    assert mean == pytest.approx(expected_mean)
    assert shares == pytest.approx(expected_shares)
    assert sum(rows) == 200
