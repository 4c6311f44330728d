"""The scale of logits that favour no topic, and paired comparisons."""

import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import ttest_rel

from unskew.balance import (
    denoised_labels,
    fit_scale,
    natural_and_uniform_nll,
    paired_difference,
    row_nll,
    shrunk_em_prior,
)
from unskew.common import UserError

PRIOR = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)


@pytest.fixture
def drawn():
    generator = torch.Generator().manual_seed(0)
    labels = torch.multinomial(PRIOR.float(), 800, replacement=True, generator=generator)
    logits = 2 * torch.nn.functional.one_hot(labels, 3) + 1.5 * torch.randn(800, 3, generator=generator)
    return logits, labels


@pytest.mark.parametrize("topics", [3, 200])  # logits of 200 topics are worked on in several parts
def test_the_scale_is_where_an_independent_search_finds_it(drawn, topics):
    logits, labels = drawn
    prior = PRIOR
    if topics > 3:
        generator = torch.Generator().manual_seed(3)
        labels = torch.arange(800) * 7 % topics
        logits = 4 * torch.nn.functional.one_hot(labels, topics) + 2 * torch.randn(800, topics, generator=generator)
        prior = torch.rand(topics, generator=generator).double().softmax(0)

    counts = torch.bincount(labels).double()
    chance = (0.5 / (counts + 0.5))[labels][:, None]
    soft = (1 - chance) * torch.nn.functional.one_hot(labels, topics) + chance / topics

    def nll(log_scale):
        scores = logits.double() * torch.tensor(log_scale).double().exp()
        alike = torch.nn.functional.cross_entropy(scores, soft, reduction="none") / counts[labels]
        return (torch.nn.functional.cross_entropy(scores + prior.log(), soft) + alike.sum() / topics).item()

    expected = minimize_scalar(nll, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9}).x
    assert fit_scale(logits, labels, prior) == pytest.approx(torch.tensor(expected).exp().item(), rel=1e-6)


def test_a_topic_of_no_weight_is_left_out(drawn):
    logits, labels = drawn
    weights = (labels != 2).double()
    kept = labels != 2
    for measured in (fit_scale, natural_and_uniform_nll):
        assert measured(logits, labels, PRIOR, weights) == pytest.approx(measured(logits[kept], labels[kept], PRIOR))
        with pytest.raises(UserError, match="not all of them 0"):
            measured(logits, labels, PRIOR, 0 * weights)


def test_rows_of_weight_two_are_rows_that_stand_twice(drawn):
    logits, labels = drawn
    weights = 1 + (torch.arange(800) % 3 == 0).double()
    twice = logits.repeat_interleave(weights.long(), 0), labels.repeat_interleave(weights.long())
    assert fit_scale(logits, labels, PRIOR, weights) == pytest.approx(fit_scale(*twice, PRIOR))
    assert natural_and_uniform_nll(logits, labels, PRIOR, weights) == pytest.approx(
        natural_and_uniform_nll(*twice, PRIOR)
    )


def test_a_few_right_answers_prove_no_certainty():
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    sure = torch.nn.functional.one_hot(labels, 3).float()
    more = fit_scale(sure.repeat(50, 1), labels.repeat(50), PRIOR)
    assert fit_scale(sure, labels, PRIOR) < more < 100


def test_row_losses_are_cross_entropy_under_the_prior(drawn):
    logits, labels = drawn
    expected = torch.nn.functional.cross_entropy(logits.double() + PRIOR.log(), labels, reduction="none")
    torch.testing.assert_close(row_nll(logits, labels, PRIOR), expected)


def test_logits_that_are_no_numbers_are_refused(drawn):
    logits, labels = drawn
    with pytest.raises(UserError, match="finite"):
        fit_scale(logits.clone().fill_(torch.nan), labels, PRIOR)


def test_paired_comparison_is_the_t_statistic_of_pairs():
    generator = torch.Generator().manual_seed(1)
    one, other = torch.rand(50, generator=generator).double(), torch.rand(50, generator=generator).double()
    change, error = paired_difference(one, other)
    assert change / error == pytest.approx(ttest_rel(one.numpy(), other.numpy()).statistic)


def test_without_rows_the_shrunk_prior_is_its_centre_and_with_many_the_truth():
    assert torch.allclose(shrunk_em_prior(torch.zeros(0, 3), PRIOR), PRIOR)
    labels = torch.tensor([0] * 300 + [1] * 300 + [2] * 3000)
    logits = 12.0 * torch.nn.functional.one_hot(labels, 3)
    expected = (torch.tensor([300, 300, 3000]) + 60 * PRIOR) / 3660
    torch.testing.assert_close(shrunk_em_prior(logits, PRIOR), expected, atol=1e-3, rtol=1e-3)


def test_labels_are_believed_as_far_as_they_agree_with_the_texts():
    generator = torch.Generator().manual_seed(2)
    truth = torch.randint(0, 3, (3000,), generator=generator)
    posterior = (1.2 * torch.nn.functional.one_hot(truth, 3) + torch.randn(3000, 3, generator=generator)).softmax(-1)
    kept = torch.rand(3000, generator=generator) < 0.8
    labels = torch.where(kept, truth, torch.randint(0, 3, (3000,), generator=generator))
    said = denoised_labels(posterior, labels)
    assert torch.allclose(said.sum(-1), torch.ones(3000).double())
    right = [(each.argmax(-1) == truth).double().mean() for each in (said, posterior)]
    assert right[0] > right[1] + 0.1
    shuffled = labels[torch.randperm(3000, generator=generator)]
    torch.testing.assert_close(denoised_labels(posterior, shuffled), posterior.double(), atol=0.15, rtol=1)
