"""The linear head: scikit-learn's logistic regression, with the counts divided out."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from unskew.encoder.linear_head import LabelledFeatures, fit_linear_head

COUNTS = [60, 20, 6]


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([topic for topic, count in enumerate(COUNTS) for _ in range(count)])
    centers = torch.randn(3, 8, generator=generator)
    features = 3 + centers[labels] + torch.randn(len(labels), 8, generator=generator)
    return LabelledFeatures(features, labels)


def standardised(features, weights=None):
    shares = torch.full((len(features),), 1 / len(features)) if weights is None else (weights / weights.sum()).float()
    centred = features - shares @ features
    return centred / (shares @ centred.square().sum(-1)).sqrt()


@pytest.mark.parametrize("strength", [1.0, 10.0, 100.0])
def test_it_is_scikit_learns_with_the_counts_divided_out(rows, strength):
    head = fit_linear_head([rows], 3, strength, iterations=2000)
    peer = LogisticRegression(C=strength, tol=1e-8, max_iter=5000).fit(standardised(rows.features), rows.labels)
    expected = peer.decision_function(standardised(rows.features)) - np.log(COUNTS)
    found = head(rows.features)
    torch.testing.assert_close(
        found.log_softmax(-1), torch.from_numpy(expected).log_softmax(-1).float(), atol=2e-2, rtol=1e-2
    )


def test_labels_as_shares_and_weights_count_like_rows(rows):
    shares = torch.nn.functional.one_hot(rows.labels, 3).float()
    whole = fit_linear_head([rows], 3, 10.0, iterations=1000)
    halves = [LabelledFeatures(rows.features, shares, 0.5), LabelledFeatures(rows.features, rows.labels, 0.5)]
    torch.testing.assert_close(
        fit_linear_head(halves, 3, 10.0, iterations=1000).weight, whole.weight, atol=1e-2, rtol=0.05
    )


def test_the_start_changes_nothing_but_the_way(rows):
    begun = fit_linear_head([rows], 3, 1.0)
    warm = fit_linear_head([rows], 3, 30.0, start=begun, iterations=1000)
    torch.testing.assert_close(
        warm.weight, fit_linear_head([rows], 3, 30.0, iterations=1000).weight, atol=2e-2, rtol=0.05
    )


def test_scaling_and_shifting_the_features_changes_no_answer(rows):
    moved = LabelledFeatures(rows.features * 7 - 2, rows.labels)
    torch.testing.assert_close(
        fit_linear_head([moved], 3, 10.0)(moved.features),
        fit_linear_head([rows], 3, 10.0)(rows.features),
        atol=2e-2,
        rtol=2e-2,
    )


def test_a_topic_without_rows_gets_finite_logits(rows):
    assert fit_linear_head([rows], 4, 10.0)(rows.features).isfinite().all()


def test_sums_and_multiples_of_heads(rows):
    head = fit_linear_head([rows], 3, 10.0)
    torch.testing.assert_close((head.scaled(0.25) + head.scaled(0.75))(rows.features), head(rows.features))


def test_rows_weigh_as_in_scikit_learn(rows):
    weights = torch.rand(len(rows.labels), generator=torch.Generator().manual_seed(1)).double() + 0.1
    head = fit_linear_head([LabelledFeatures(rows.features, rows.labels, weights)], 3, 10.0, iterations=2000)
    features = standardised(rows.features, weights)
    peer = LogisticRegression(C=10.0, tol=1e-8, max_iter=5000).fit(features, rows.labels, sample_weight=weights)
    expected = peer.decision_function(features) - torch.bincount(rows.labels, weights).log().numpy()
    torch.testing.assert_close(
        head(rows.features).log_softmax(-1), torch.from_numpy(expected).log_softmax(-1).float(), atol=2e-2, rtol=1e-2
    )


def test_a_weight_is_so_many_equal_rows():
    features = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    features[:3] += 6
    labels, weights = torch.arange(30) % 3, torch.ones(30)
    weights[:3] = 30
    again = torch.arange(30).repeat_interleave(weights.long())
    weighted = fit_linear_head([LabelledFeatures(features, labels, weights)], 3, 10.0)
    repeated = fit_linear_head([LabelledFeatures(features[again], labels[again])], 3, 10.0)
    torch.testing.assert_close(weighted(features), repeated(features), rtol=0, atol=0.02)
