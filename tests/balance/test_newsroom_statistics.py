"""The room's statistics where the truth is known: the newsroom's exact posterior stands in for a model."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom

from unskew.balance import (
    LossSettings,
    bbse_prior,
    em_prior,
    em_standard_error,
    fit_conformal,
    make_loss,
    mean_posterior,
    negative_log_likelihood,
    noise_from_rate,
    noise_matrix,
    prior_correct,
    prior_from_counts,
    prior_from_loss,
    rows_needed,
    uniform_prior,
)
from unskew.balance.metrics import balanced_accuracy
from unskew.common import UserError
from unskew.corpus import Newsroom
from unskew.corpus.newsroom_text import lower_words

ROOM = Newsroom()
COUNTS = ROOM.long_tail_counts(2000)
TRAINING = prior_from_counts(COUNTS)
SPARSE = torch.tensor([0, 0.4, 0, 0, 0.3, 0, 0, 0.05, 0, 0.15, 0, 0.1], dtype=torch.float64)
TARGETS = {"reversed": TRAINING.flip(0), "uniform": uniform_prior(12), "sparse": SPARSE, "training": TRAINING}
PRIORS = st.lists(st.floats(0.001, 1), min_size=12, max_size=12).map(lambda own: torch.tensor(own).double() / sum(own))


def draw(rows, prior, seed, room=ROOM):
    """Exact posteriors (n, C) under the training prior of texts drawn with another prior, and their topics (n,)."""
    records = room.sample(rows, prior.numpy(), seed)
    posterior = room.posterior([record.text for record in records], TRAINING.numpy())
    return torch.tensor(posterior), torch.tensor(room.topic_indices(records))


# --- label shift -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TARGETS)
def test_em_recovers_the_prior_within_its_standard_errors(name):
    prior = TARGETS[name]
    probabilities, _ = draw(4000, prior, seed=[5, len(name)])
    estimate = em_prior(probabilities, TRAINING)
    errors = em_standard_error(probabilities, TRAINING, estimate)
    assert errors.max() < 0.03
    assert ((estimate - prior).abs() < 4 * errors).all()


def test_black_box_shift_estimation_recovers_the_prior():
    held_out, labels = draw(6000, uniform_prior(12), seed=1)
    for name in ("reversed", "uniform", "sparse"):
        unlabelled, _ = draw(4000, TARGETS[name], seed=2)
        assert (bbse_prior(held_out, labels, unlabelled) - TARGETS[name]).abs().max() < 0.05


def test_siblings_that_nobody_can_tell_apart_are_refused():
    room = Newsroom(difficulty=1)
    probabilities, labels = draw(3000, uniform_prior(12), 3, room)
    with pytest.raises(UserError, match="cannot be estimated"):
        em_prior(probabilities, TRAINING)
    with pytest.raises(UserError, match="condition number"):
        bbse_prior(probabilities, labels, probabilities)


# --- prior correction ------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(PRIORS, PRIORS)
def test_correcting_the_prior_of_an_exact_posterior_gives_the_exact_posterior(held, wanted):
    texts = [record.text for record in ROOM.sample(20, seed=8)]
    log_p = torch.tensor(ROOM.posterior(texts, held.numpy())).log()
    corrected = prior_correct(log_p, held, wanted).exp().double()
    torch.testing.assert_close(corrected, torch.tensor(ROOM.posterior(texts, wanted.numpy())), rtol=1e-4, atol=1e-6)
    unchanged = prior_correct(log_p, held, held).double()
    torch.testing.assert_close(unchanged, log_p, rtol=1e-5, atol=1e-5)


# --- conformal sets --------------------------------------------------------------------------------------------------


def blurred(rows, prior, seed):
    """A model that errs: without its noise, scores would be tied, and ties only raise coverage."""
    probabilities, labels = draw(rows, prior, seed)
    noise = torch.randn(probabilities.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (0.7 * probabilities.log() + 0.5 * noise).softmax(-1), labels


@pytest.mark.parametrize("error_rate", [0.05, 0.1, 0.25])
def test_conformal_coverage_of_each_topic_lies_in_its_interval(error_rate):
    calibration, labels = blurred(6000, TRAINING, 21)
    sets = fit_conformal(calibration, labels, error_rate)
    rows = torch.bincount(labels, minlength=12).tolist()
    assert [topic in sets.pooled for topic in range(12)] == [own < rows_needed(error_rate) for own in rows]
    fresh, truth = blurred(12_000, uniform_prior(12), 22)
    row = torch.arange(len(fresh))
    reached = (fresh >= torch.tensor(sets.thresholds, dtype=torch.float64))[row, truth]
    covered = sets(fresh)[row, truth]
    for topic in sorted(set(range(12)) - set(sets.pooled)):
        tested, own = int((truth == topic).sum()), rows[topic]
        # Over calibration sets the coverage is Beta(k, n + 1 - k) with k the rank of the threshold's score.
        rank = int(np.ceil((own + 1) * (1 - error_rate) - 1e-9))
        hits = betabinom(tested, rank, own + 1 - rank)
        assert hits.cdf(reached[truth == topic].sum().item()) > 1e-4
        assert hits.sf(reached[truth == topic].sum().item() - 1) > 1e-4
        assert hits.cdf(covered[truth == topic].sum().item()) > 1e-4


def test_pooled_topics_are_covered_together():
    error_rate, (calibration, labels) = 0.05, blurred(1200, TRAINING, 31)
    sets = fit_conformal(calibration, labels, error_rate)
    assert len(sets.pooled) > 1
    assert sets.always == ()
    pooled = torch.tensor(sets.pooled)
    own = int(torch.isin(labels, pooled).sum())
    fresh, truth = blurred(5000, torch.where(torch.isin(torch.arange(12), pooled), TRAINING, 0), 32)
    hits = sets(fresh)[torch.arange(len(fresh)), truth].sum().item()
    rank = int(np.ceil((own + 1) * (1 - error_rate) - 1e-9))
    assert betabinom(len(fresh), rank, own + 1 - rank).cdf(hits) > 1e-3


# --- what losses teach -----------------------------------------------------------------------------------------------


def bag_of_words(texts):
    words = {word: column for column, word in enumerate(ROOM.vocabulary)}
    bags = torch.zeros(len(texts), len(words))
    for bag, text in zip(bags, texts, strict=True):
        for word in lower_words(text):
            if word in words:
                bag[words[word]] += 1
    return bags


def train(bags, labels, loss):
    """A linear model at the (slightly penalised) minimum of a loss, as a function from bags to logits."""
    weights = torch.zeros(12, bags.shape[1], requires_grad=True)
    bias = torch.zeros(12, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=60, line_search_fn="strong_wolfe")
    loss.set_progress(1.0)

    def closure():
        optimizer.zero_grad()
        value = loss(bags @ weights.T + bias, labels) + 1e-4 * (weights**2).sum()
        value.backward()
        return value

    optimizer.step(closure)
    return lambda rows: (rows @ weights.T + bias).detach()


@pytest.fixture(scope="module")
def sets():
    trained, held_out = ROOM.sample_counts(COUNTS, seed=1), ROOM.sample(3000, seed=2)
    texts = [record.text for record in held_out]
    bags = bag_of_words([record.text for record in trained]), bag_of_words(texts)
    topics = [torch.tensor(ROOM.topic_indices(records)) for records in (trained, held_out)]
    return bags[0], topics[0], bags[1], topics[1], balanced_accuracy(torch.tensor(ROOM.posterior(texts)), topics[1])


PROPER = [
    LossSettings(weights="none"),
    LossSettings(weights="effective_number"),
    LossSettings(weights="inverse_frequency", exponent=0.5),
    LossSettings("logit_adjusted"),
    LossSettings("logit_adjusted", tau=0.5),
    LossSettings("balanced_softmax"),
    LossSettings("forward_noise", noise_rate=0.1),
]
IMPROPER = [LossSettings("focal"), LossSettings("ldam"), LossSettings("generalised_cross_entropy")]


@pytest.mark.parametrize("loss", [*PROPER, *IMPROPER], ids=lambda loss: f"{loss.name}-{loss.scheme}-{loss.tau}")
def test_dividing_out_the_implied_prior_comes_near_the_bayes_ceiling(loss, sets):
    bags, labels, fresh, truth, ceiling = sets
    logits = train(bags, labels, make_loss(loss, COUNTS))(fresh)
    model_prior = prior_from_loss(loss, COUNTS)
    reached = balanced_accuracy(prior_correct(logits, model_prior, uniform_prior(12)), truth)
    assert reached > ceiling - 0.075
    assert reached > balanced_accuracy(logits, truth) - 0.005
    if loss in PROPER:
        # A posterior averages to its own prior over rows that come under it, and to no other.
        held = mean_posterior(logits.softmax(-1), model_prior[truth])
        assert (held / model_prior).log().abs().max() < 0.35
        others = [prior for prior in (TRAINING, uniform_prior(12)) if (prior / model_prior).log().abs().max() > 0.5]
        assert all((held / prior).log().abs().max() > 0.35 for prior in others)


def test_forward_noise_learns_the_true_topics_from_wrong_ones():
    room = Newsroom(difficulty=0.2)
    records = room.sample(4000, uniform_prior(12).numpy(), 7)
    truth, bags = torch.tensor(room.topic_indices(records)), bag_of_words([record.text for record in records])
    noise = noise_from_rate([1] * 12, 0.5)
    noisy = torch.multinomial(noise[truth[:3000]].float(), 1, generator=torch.Generator().manual_seed(0)).squeeze(1)
    counts = torch.bincount(noisy, minlength=12).tolist()
    plain = train(bags[:3000], noisy, make_loss(LossSettings(weights="none"), counts))
    forward = train(bags[:3000], noisy, make_loss(LossSettings("forward_noise", noise_rate=0.5), counts))
    before, after = (
        negative_log_likelihood(model(bags[3000:]).softmax(-1), truth[3000:]) for model in (plain, forward)
    )
    assert after < 0.6 * before
    estimated = noise_matrix(plain(bags[3000:]).softmax(-1), truth[3000:])
    assert (estimated - noise).abs().max() < 0.15
