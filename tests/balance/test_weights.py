import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from unskew.balance import class_weights, derive_beta, describe_weights, effective_number, inverse_frequency
from unskew.common import UserError

COUNTS = st.lists(st.integers(1, 10**8), min_size=1, max_size=12)
SCHEMES = ["balanced", "inverse_frequency", "effective_number"]


def test_balanced_and_full_inverse_frequency_are_scikit_learns_balanced():
    counts = [70, 20, 9, 1]
    labels = np.repeat(np.arange(4), counts)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    torch.testing.assert_close(class_weights("balanced", counts), torch.tensor(expected))
    torch.testing.assert_close(inverse_frequency(counts), torch.tensor(expected))


def test_balanced_is_the_example_of_scikit_learns_documentation():
    # compute_class_weight("balanced", classes=[0, 1], y=[1, 1, 1, 1, 0, 0]) is printed there as [1.5, 0.75].
    assert class_weights("balanced", [2, 4]).tolist() == [1.5, 0.75]


def test_exponent_tempers_the_ratio_of_weights():
    weights = inverse_frequency([100, 4], exponent=0.5)
    assert (weights[1] / weights[0]).item() == pytest.approx(5)
    assert inverse_frequency([100, 4], exponent=0).tolist() == [1, 1]


def test_effective_number_by_hand():
    # beta 0.5: E_1 = 1, E_2 = 1.5, E_3 = 1.75, so weights go as 1 : 1/1.5 : 1/1.75.
    weights = effective_number([1, 2, 3], beta=0.5)
    raw = torch.tensor([1, 1 / 1.5, 1 / 1.75], dtype=torch.float64)
    torch.testing.assert_close(weights, raw * 6 / (raw * torch.tensor([1, 2, 3])).sum())


def test_effective_number_of_100_rows_at_beta_09999_is_nearly_their_number():
    weights = effective_number([100, 1], beta=0.9999)
    assert (weights[1] / weights[0]).item() == pytest.approx(99.5, abs=0.05)


def test_effective_number_keeps_its_digits_for_beta_near_one():
    weights = effective_number([10**8, 1], beta=1 - 1e-8)
    assert (weights[1] / weights[0]).item() == pytest.approx(1e8 * (1 - math.exp(-1)), rel=1e-6)


def test_beta_zero_is_no_weighting():
    assert effective_number([1, 10, 1000], beta=0).tolist() == [1, 1, 1]


def test_beta_is_derived_from_the_mean_count_and_said():
    assert derive_beta([150, 40, 10]) == pytest.approx(1 - 3 / 200)
    assert "beta 0.985, derived: 1 - 1/66.67" in describe_weights("effective_number", [150, 40, 10])


def test_a_derived_beta_is_capped_and_the_cap_is_said():
    counts = [10**8, 1]
    assert derive_beta(counts) == pytest.approx(0.99)
    weights = effective_number(counts)
    assert weights[1] / weights[0] == pytest.approx(100)
    assert "a cap; the mean rows per topic are 5e+07" in describe_weights("effective_number", counts)
    assert "beta 0.9, given" in describe_weights("effective_number", [150, 40, 10], beta=0.9)


def test_given_weights_go_by_name_and_others_are_one():
    weights = class_weights({"b": 3.0}, [10, 10], names=["a", "b"])
    assert weights.tolist() == [0.5, 1.5]


@given(COUNTS, st.sampled_from(SCHEMES))
def test_weights_are_positive_and_fall_with_counts(counts, scheme):
    weights = class_weights(scheme, counts).tolist()
    assert all(weight > 0 and math.isfinite(weight) for weight in weights)
    by_count = [weight for _, weight in sorted(zip(counts, weights, strict=True), key=lambda pair: (pair[0], -pair[1]))]
    assert all(rarer >= commoner * (1 - 1e-12) for rarer, commoner in zip(by_count, by_count[1:], strict=False))


@given(st.data(), COUNTS, st.sampled_from(SCHEMES))
def test_weights_follow_a_permutation_of_the_topics(data, counts, scheme):
    order = data.draw(st.permutations(range(len(counts))))
    permuted = class_weights(scheme, [counts[position] for position in order])
    torch.testing.assert_close(permuted, class_weights(scheme, counts)[list(order)])


@given(COUNTS, st.sampled_from(SCHEMES))
def test_the_mean_weight_of_a_training_row_is_one(counts, scheme):
    rows = torch.tensor(counts, dtype=torch.float64)
    assert ((class_weights(scheme, counts) * rows).sum() / rows.sum()).item() == pytest.approx(1)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_topic_without_rows_has_the_weight_of_a_topic_with_one(scheme):
    weights = class_weights(scheme, [50, 1, 0])
    assert weights[2] == weights[1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: class_weights("balanced", []), "counts must be"),
        (lambda: class_weights("balanced", [3, -1]), "counts must be"),
        (lambda: class_weights("balanced", [3, math.nan]), "counts must be"),
        (lambda: class_weights("balanced", [0, 0]), "counts must be"),
        (lambda: class_weights("effective_number", [3, 1], beta=1.0), r"beta must be in \[0, 1\)"),
        (lambda: class_weights({"x": 2.0}, [3, 1], names=["a", "b"]), r"not in the training set: \['x'\]"),
        (lambda: class_weights({"a": -2.0}, [3, 1], names=["a", "b"]), "must be positive"),
        (lambda: class_weights({"a": 2.0}, [3, 1]), "need the topic names"),
        (lambda: class_weights("sqrt", [3, 1]), "unknown weights 'sqrt'"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call()
