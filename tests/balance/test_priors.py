"""The prior that a model was measured to hold."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unskew.balance import prior_from_counts, prior_from_predictions
from unskew.common import UserError

SHARES = st.lists(st.floats(0.02, 1), min_size=3, max_size=3).map(lambda values: torch.tensor(values) / sum(values))
# P(word | topic) of four words under three topics.
WORDS = torch.tensor([[0.6, 0.2, 0.1, 0.1], [0.1, 0.5, 0.1, 0.3], [0.1, 0.2, 0.5, 0.2]], dtype=torch.float64)


def exact_rows(prior, per_topic=1000):
    """Posteriors under a prior of words that come exactly as often as they should, and their topics."""
    posterior = (WORDS * prior.double()[:, None]).T
    posterior = posterior / posterior.sum(-1, keepdim=True)
    times = (WORDS * per_topic).round().long()
    words = torch.cat([torch.arange(4).repeat_interleave(times[topic]) for topic in range(3)])
    return posterior[words], torch.arange(3).repeat_interleave(times.sum(-1))


@settings(max_examples=40, deadline=None)
@given(SHARES)
def test_an_exact_posterior_holds_the_prior_that_its_loss_implies(prior):
    probabilities, labels = exact_rows(prior)
    torch.testing.assert_close(prior_from_predictions(probabilities, labels, prior), prior.double(), rtol=0, atol=2e-3)


def test_a_model_short_of_its_loss_is_moved_toward_what_it_holds():
    natural, flat = prior_from_counts([90, 9, 1]), torch.full((3,), 1 / 3)
    probabilities, labels = exact_rows(natural)
    measured = prior_from_predictions(probabilities, labels, flat)
    assert measured[0] > 0.45
    assert measured[2] < 0.2


def test_by_hand():
    # Topic 0: answers 0.8 and 0.6 and one right: 0.8. Topic 1: answer 0.5 and one right: 0.75. Topic 2: no rows.
    probabilities = torch.tensor([[0.8, 0.2, 0.0], [0.6, 0.0, 0.4], [0.25, 0.5, 0.25]])
    model_prior = torch.tensor([0.5, 0.4, 0.1])
    expected = [0.5 * 0.8 + 0.4 * 0.125, 0.5 * 0.2 / 3 + 0.4 * 0.75, 0.5 * 0.4 / 3 + 0.4 * 0.125 + 0.1]
    assert prior_from_predictions(probabilities, torch.tensor([0, 0, 1]), model_prior).tolist() == pytest.approx(
        expected
    )


def test_after_plain_cross_entropy_it_is_the_mean_posterior():
    natural = prior_from_counts([600, 300, 100])
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat_interleave(torch.tensor([6000, 3000, 1000]))
    probabilities = torch.randn(10_000, 3, generator=generator).softmax(-1)
    expected = probabilities.double().mean(0)
    torch.testing.assert_close(prior_from_predictions(probabilities, labels, natural), expected, rtol=0, atol=1e-3)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="nothing to measure"):
        prior_from_predictions(torch.zeros(0, 2), torch.zeros(0).long(), torch.ones(2) / 2)
    with pytest.raises(UserError, match="nothing to measure"):
        prior_from_predictions(torch.ones(3, 2) / 2, torch.zeros(3).long(), torch.ones(3) / 3)
