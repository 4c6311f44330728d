import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unskew.balance import bbse_prior, em_prior, em_standard_error, shrunk_em_prior, uniform_prior
from unskew.balance.label_shift import em_priors, shrunk_em_priors
from unskew.common import UserError

MODEL = torch.tensor([0.6, 0.3, 0.08, 0.02], dtype=torch.float64)
OTHER = torch.tensor([0.05, 0.15, 0.3, 0.5], dtype=torch.float64)
CENTRES = 1.6 * torch.eye(4, dtype=torch.float64)


def draw(prior, rows, seed=0):
    """Exact posteriors under MODEL of Gaussian texts drawn with another prior, and their topics."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(prior, rows, replacement=True, generator=generator)
    texts = CENTRES[labels] + torch.randn(rows, 4, generator=generator, dtype=torch.float64)
    log_likelihood = -((texts[:, None] - CENTRES) ** 2).sum(-1) / 2
    return (log_likelihood + MODEL.log()).softmax(-1), labels


@pytest.mark.parametrize("prior", [OTHER, MODEL, uniform_prior(4)])
def test_em_recovers_a_known_prior_within_its_standard_error(prior):
    probabilities, _ = draw(prior, 20_000)
    estimate = em_prior(probabilities, MODEL)
    errors = em_standard_error(probabilities, MODEL, estimate)
    assert ((estimate - prior).abs() < 4 * errors).all()
    assert estimate.sum().item() == pytest.approx(1)


def test_em_standard_error_is_the_spread_of_estimates():
    estimates, errors = [], []
    for seed in range(60):
        probabilities, _ = draw(OTHER, 800, seed)
        estimates.append(em_prior(probabilities, MODEL))
        errors.append(em_standard_error(probabilities, MODEL, estimates[-1]))
    spread = torch.stack(estimates).std(0)
    torch.testing.assert_close(torch.stack(errors).mean(0), spread, rtol=0.35, atol=0)


@settings(max_examples=30, deadline=None)
@given(times=st.lists(st.lists(st.integers(0, 3), min_size=12, max_size=12), min_size=1, max_size=4))
def test_resamples_are_estimated_together_as_each_would_be_alone(times):
    probabilities, _ = draw(OTHER, 12)
    counts = torch.tensor([column if any(column) else [1] * 12 for column in times]).T
    repeated = [probabilities.repeat_interleave(column, 0) for column in counts.T]
    plain = em_priors(probabilities, MODEL, counts, 1e-10)
    shrunk = shrunk_em_priors(probabilities.log(), MODEL, counts, 2.0, 1e-10)
    for column, rows in enumerate(repeated):
        alone = em_prior(rows, MODEL, 1e-10, max_error=None)
        torch.testing.assert_close(plain[:, column], alone, atol=1e-3, rtol=1e-3)
        alone = shrunk_em_prior(rows.log(), MODEL, 2.0, 1e-10)
        torch.testing.assert_close(shrunk[:, column], alone, atol=1e-6, rtol=1e-6)


def test_a_resample_without_the_only_rows_that_speak_for_a_topic_has_none_of_it():
    certain = torch.eye(3).double()
    assert em_priors(certain, uniform_prior(3), torch.tensor([[2], [1], [0]]))[:, 0].tolist() == pytest.approx(
        [2 / 3, 1 / 3, 0], abs=1e-6
    )


def test_em_reaches_the_maximum_of_the_likelihood():
    probabilities, _ = draw(OTHER, 2000)
    estimate = em_prior(probabilities, MODEL)

    def log_likelihood(prior):
        return (probabilities / MODEL @ prior).log().mean()

    generator = torch.Generator().manual_seed(0)
    for size in (0.001, 0.01, 0.1):
        for _ in range(20):
            other = (estimate + size * torch.rand(4, generator=generator, dtype=torch.float64)).clamp(min=0)
            assert log_likelihood(other / other.sum()) <= log_likelihood(estimate) + 1e-6


def test_em_of_certain_rows_counts_them():
    certain = torch.eye(3).double()[torch.tensor([0, 0, 0, 1, 1, 2])]
    estimate = em_prior(certain, uniform_prior(3), max_error=None)
    assert estimate.tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 6])
    # The standard error of a counted share is the binomial one.
    errors = em_standard_error(certain, uniform_prior(3), estimate)
    assert errors.tolist() == pytest.approx([(q * (1 - q) / 6) ** 0.5 for q in (1 / 2, 1 / 3, 1 / 6)])


def test_topics_that_no_row_speaks_for_are_known_to_be_absent():
    certain = torch.eye(4).double()[torch.tensor([0] * 60 + [1] * 40)]
    estimate = em_prior(certain, uniform_prior(4))
    assert estimate.tolist() == pytest.approx([0.6, 0.4, 0, 0], abs=1e-4)
    # The likelihood of a share e of absent topics is (1 - e)^100: about exponential, with a scale of a hundredth.
    errors = em_standard_error(certain, uniform_prior(4), estimate)
    assert errors.tolist() == pytest.approx([(0.24 / 100) ** 0.5] * 2 + [0.01] * 2, rel=0.05)


def test_em_standard_error_covers_sparse_priors():
    prior = torch.tensor([0.7, 0.3, 0, 0], dtype=torch.float64)
    misses = 0
    for seed in range(60):
        probabilities, _ = draw(prior, 500, seed)
        estimate = em_prior(probabilities, MODEL)
        errors = em_standard_error(probabilities, MODEL, estimate)
        misses += int(((estimate - prior).abs() > 2 * errors).sum())
    assert misses < 0.1 * 4 * 60


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(4)))
def test_em_follows_a_permutation_of_the_topics(order):
    probabilities, _ = draw(OTHER, 500)
    moved = em_prior(probabilities[:, order], MODEL[list(order)])
    torch.testing.assert_close(moved, em_prior(probabilities, MODEL)[list(order)])


def test_em_refuses_what_the_rows_cannot_tell():
    with pytest.raises(UserError, match="cannot be estimated.*inf"):
        em_prior(MODEL.expand(500, 4), MODEL)
    twins = torch.eye(3).double()[torch.arange(300) % 3]
    twins = torch.cat([twins[:, :2], twins[:, 2:] / 2, twins[:, 2:] / 2], dim=1)
    with pytest.raises(UserError, match="topic [23] is inf"):
        em_prior(twins, uniform_prior(4))
    with pytest.raises(UserError, match="these 5 rows"):
        em_prior(draw(OTHER, 5)[0], MODEL)
    assert em_prior(draw(OTHER, 5)[0], MODEL, max_error=None).sum().item() == pytest.approx(1)


def test_bbse_recovers_a_known_prior():
    held_out, labels = draw(MODEL, 40_000, seed=1)
    estimate = bbse_prior(held_out, labels, draw(OTHER, 40_000, seed=2)[0])
    torch.testing.assert_close(estimate, OTHER, rtol=0, atol=0.05)


def test_bbse_by_hand():
    # Topic 0 is decided rightly in 8 of 10, topic 1 in 6 of 10; 50 of 100 unlabelled rows are decided as 0:
    # 0.8 q + 0.4 (1 - q) = 0.5 gives q = 0.25.
    decisions = torch.tensor([0] * 8 + [1] * 2 + [0] * 4 + [1] * 6)
    held_out = torch.eye(2)[decisions]
    unlabelled = torch.eye(2)[torch.arange(100) % 2]
    estimate = bbse_prior(held_out, torch.arange(2).repeat_interleave(10), unlabelled)
    assert estimate.tolist() == pytest.approx([0.25, 0.75])


def test_bbse_on_its_own_held_out_rows_gives_their_shares():
    held_out, labels = draw(MODEL, 3000)
    estimate = bbse_prior(held_out, labels, held_out)
    torch.testing.assert_close(estimate, torch.bincount(labels).double() / 3000)


def test_bbse_refuses_an_ill_conditioned_confusion_matrix():
    never_decided = torch.eye(3)[torch.tensor([0, 1, 0] * 20)]
    with pytest.raises(UserError, match="condition number.*topic 2 has a recall of 0"):
        bbse_prior(never_decided, torch.arange(3).repeat(20), never_decided)
    nearly = torch.eye(2)[torch.tensor([0] * 101 + [1] * 99 + [0] * 100 + [1] * 100)]
    with pytest.raises(UserError, match="above 100"):
        bbse_prior(nearly, torch.arange(2).repeat_interleave(200), nearly)


def test_bbse_needs_rows_of_every_topic():
    with pytest.raises(UserError, match=r"none of topics \[2\]"):
        bbse_prior(torch.eye(3)[:2], torch.tensor([0, 1]), torch.eye(3))
    with pytest.raises(UserError, match="needs unlabelled rows"):
        bbse_prior(torch.eye(2), torch.tensor([0, 1]), torch.zeros(0, 2))


@pytest.mark.parametrize(
    ("probabilities", "prior"),
    [
        (torch.zeros(0, 2), uniform_prior(2)),
        (torch.ones(3, 2) / 2, uniform_prior(3)),
        (torch.ones(3, 2) / 2, torch.tensor([1.0, 0.0])),
        (torch.full((3, 2), torch.nan), uniform_prior(2)),
    ],
)
def test_em_names_mistakes(probabilities, prior):
    with pytest.raises(UserError, match="probabilities"):
        em_prior(probabilities, prior)
