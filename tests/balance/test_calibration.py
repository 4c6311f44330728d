import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from unskew.balance import Calibration, fit_calibration, mean_posterior, prior_correct, prior_from_counts, uniform_prior
from unskew.balance.calibration import training_weights
from unskew.common import UserError

MAPS = ["temperature", "per_class_temperature", "bias_corrected_temperature", "vector_scaling"]


def honest(rows=3000, topics=5, seed=0):
    """Logits whose softmax is the truth, and topics drawn from it."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, topics, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(-1)
    return logits, labels


def nll(log_probabilities, labels):
    return F.nll_loss(log_probabilities.double(), labels).item()


def test_temperature_is_recovered():
    logits, labels = honest()
    calibration = fit_calibration(3 * logits, labels, "temperature")
    assert torch.tensor(calibration.log_temperature).exp().item() == pytest.approx(3, rel=0.1)
    torch.testing.assert_close(calibration(3 * logits).double(), logits.log_softmax(-1), rtol=0.1, atol=0.05)


class Fixed(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose decision function is its input."""

    classes_ = np.arange(5)

    def fit(self, x, y):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def decision_function(self, x):
        return x

    def predict(self, x):
        return x.argmax(-1)


def test_temperature_is_scikit_learns():
    logits, labels = (3 * honest()[0], honest()[1])
    theirs = CalibratedClassifierCV(FrozenEstimator(Fixed()), method="temperature", ensemble=False)
    theirs.fit(logits.numpy(), labels.numpy())
    ours = fit_calibration(logits, labels, "temperature")(logits).exp()
    torch.testing.assert_close(ours.double(), torch.tensor(theirs.predict_proba(logits.numpy())), rtol=0, atol=2e-3)


def test_bias_and_temperature_are_recovered():
    logits, labels = honest(rows=20_000)
    bias = torch.tensor([1.0, 0.5, 0, -0.5, -1], dtype=torch.float64)
    calibration = fit_calibration(2 * (logits - bias), labels, "bias_corrected_temperature")
    assert torch.tensor(calibration.log_temperature).exp().item() == pytest.approx(2, rel=0.05)
    fitted = torch.tensor(calibration.bias)
    torch.testing.assert_close(fitted - fitted.mean(), bias.float(), rtol=0, atol=0.1)


def test_per_class_temperatures_are_recovered():
    log_p = honest(rows=1)[0].new_tensor([0.5, 0.3, 0.2]).log()
    generator = torch.Generator().manual_seed(0)
    log_p = (log_p + torch.randn(20_000, 3, generator=generator, dtype=torch.float64)).log_softmax(-1)
    true = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    labels = torch.multinomial((log_p / true).softmax(-1), 1, generator=generator).squeeze(-1)
    calibration = fit_calibration(log_p, labels, "per_class_temperature")
    torch.testing.assert_close(torch.tensor(calibration.log_temperature).exp(), true.float(), rtol=0.12, atol=0)


@pytest.mark.parametrize("kind", MAPS)
def test_a_map_is_kept_where_it_helps_and_dropped_where_it_cannot(kind):
    logits, labels = honest(rows=600)
    kept = fit_calibration(4 * logits, labels, kind)
    assert kept.report is not None
    assert kept.report.kept
    assert kept.report.nll_after < kept.report.nll_before
    assert str(kept.report).endswith(", kept")
    fresh_logits, fresh_targets = honest(rows=600, seed=1)
    assert nll(kept(4 * fresh_logits), fresh_targets) < nll((4 * fresh_logits).log_softmax(-1), fresh_targets)


@pytest.mark.parametrize("kind", ["bias_corrected_temperature", "vector_scaling"])
def test_a_map_that_only_fits_noise_is_not_kept(kind):
    logits, labels = honest(rows=40, topics=10)
    calibration = fit_calibration(logits, labels, kind)
    assert calibration.report is not None
    assert not calibration.report.kept
    assert str(calibration.report).endswith("not kept")
    torch.testing.assert_close(calibration(logits), logits.float().log_softmax(-1))


def test_none_and_a_single_row_change_nothing():
    logits, labels = honest(rows=50)
    for calibration in (fit_calibration(logits, labels, "none"), fit_calibration(logits[:1], labels[:1])):
        assert calibration.report is not None
        assert not calibration.report.kept
        torch.testing.assert_close(calibration(logits), logits.float().log_softmax(-1))


def test_a_row_weight_is_a_number_of_repeats():
    logits, labels = honest(rows=400)
    bent = 2 * logits + torch.tensor([1.0, 0, 0, 0, -1])
    weights = torch.ones(400)
    weights[:200] = 3
    weighted = fit_calibration(bent, labels, weights=weights)
    repeated = fit_calibration(
        torch.cat([bent, bent[:200], bent[:200]]), torch.cat([labels, labels[:200], labels[:200]])
    )
    assert weighted.log_temperature == pytest.approx(repeated.log_temperature, abs=0.01)
    assert weighted.bias == pytest.approx(repeated.bias, abs=0.01)


@pytest.mark.parametrize("kind", MAPS)
def test_logits_and_their_log_probabilities_are_the_same(kind):
    logits, labels = honest(rows=300)
    bent = 3 * logits + 7
    calibration = fit_calibration(bent, labels, kind)
    assert calibration.report is not None
    assert calibration.report.kept
    torch.testing.assert_close(calibration(bent), calibration(bent.log_softmax(-1)))
    refitted = fit_calibration(bent.log_softmax(-1), labels, kind)
    torch.testing.assert_close(refitted(bent), calibration(bent))


@pytest.mark.parametrize("kind", MAPS)
def test_saved_and_loaded_it_is_the_same(kind):
    logits, labels = honest(rows=300)
    calibration = fit_calibration(3 * logits, labels, kind)
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration


def test_topics_without_rows_and_exact_zeros_stay_finite():
    logits, labels = honest(rows=200, topics=6)
    keep = labels < 4
    log_p = (5 * logits[keep]).log_softmax(-1)
    log_p[log_p < -30] = -torch.inf
    for kind in MAPS:
        calibration = fit_calibration(log_p, labels[keep], kind)
        assert all(abs(value) < 10 for value in (*calibration.log_temperature, *calibration.bias))
        assert calibration(log_p).isfinite().all()


def test_separable_rows_do_not_run_away():
    logits = 2 * torch.eye(3).repeat(20, 1)
    calibration = fit_calibration(logits, torch.arange(3).repeat(20), "temperature")
    assert -6 < calibration.log_temperature[0] < 0


def test_a_calibration_of_another_number_of_topics_is_refused():
    logits, labels = honest(rows=300)
    calibration = fit_calibration(3 * logits + torch.tensor([2.0, 0, 0, 0, -2]), labels)
    with pytest.raises(ValueError, match="logits of 4 topics for a calibration of 5"):
        calibration(logits[:, :4])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 10**8), min_size=2, max_size=8), st.integers(0, 1000))
def test_correction_with_the_training_prior_is_the_identity(counts, seed):
    logits = 5 * torch.randn(4, len(counts), generator=torch.Generator().manual_seed(seed))
    prior = prior_from_counts(counts)
    torch.testing.assert_close(prior_correct(logits, prior, prior), logits.log_softmax(-1))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 10**6), min_size=3, max_size=3), st.integers(0, 1000))
def test_a_correction_can_be_undone(counts, seed):
    logits = 3 * torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
    prior, flat = prior_from_counts(counts), uniform_prior(3)
    there = prior_correct(logits, prior, flat)
    torch.testing.assert_close(prior_correct(there, flat, prior), logits.log_softmax(-1), rtol=1e-4, atol=1e-4)


def test_correction_by_hand_is_bayes_rule():
    # Likelihoods 0.2 and 0.6; under priors 0.9, 0.1 the posterior is 0.75, 0.25, under 0.5, 0.5 the same 0.25, 0.75.
    posterior = torch.tensor([[0.75, 0.25]])
    corrected = prior_correct(posterior.log(), torch.tensor([0.9, 0.1]), uniform_prior(2)).exp()
    torch.testing.assert_close(corrected, torch.tensor([[0.25, 0.75]]))


def test_a_topic_of_target_share_zero_is_ruled_out():
    corrected = prior_correct(torch.zeros(1, 3), uniform_prior(3), torch.tensor([0.5, 0.5, 0])).exp()
    torch.testing.assert_close(corrected, torch.tensor([[0.5, 0.5, 0]]))


def test_model_prior_is_the_weighted_mean_posterior():
    posteriors = torch.tensor([[0.9, 0.1], [0.5, 0.5]])
    assert mean_posterior(posteriors).tolist() == pytest.approx([0.7, 0.3])
    assert mean_posterior(posteriors, torch.tensor([3.0, 1.0])).tolist() == pytest.approx([0.8, 0.2])
    assert mean_posterior(torch.tensor([[1.0, 0.0]]))[1] > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_calibration(torch.zeros(0, 2), torch.zeros(0).long()), "calibration needs rows"),
        (lambda: fit_calibration(torch.zeros(3, 2), torch.zeros(2).long()), "calibration needs rows"),
        (lambda: fit_calibration(torch.zeros(2, 2), torch.tensor([0, 1]), weights=-torch.ones(2)), "weights"),
        (
            lambda: fit_calibration(torch.zeros(2, 2), torch.tensor([0, 1]), "isotonic"),
            "calibration is 'isotonic'; give one of none",
        ),
        (lambda: prior_correct(torch.zeros(1, 2), torch.tensor([1.0, 0]), uniform_prior(2)), "share 0"),
        (lambda: prior_correct(torch.zeros(1, 2), torch.tensor([3.0, 1.0]), uniform_prior(2)), "sum to 1"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_no_number_is_refused_where_it_enters(bad):
    logits, labels = honest(rows=50)
    fitted = fit_calibration(logits, labels)
    logits[7, 1] = bad
    for use in (
        lambda: fit_calibration(logits, labels),
        lambda: fitted(logits),
        lambda: prior_correct(logits, uniform_prior(5), uniform_prior(5)),
    ):
        with pytest.raises(UserError, match="logits of row 7"):
            use()


def test_an_allowed_topic_of_probability_0_is_still_the_most_probable():
    surely_other = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    corrected = prior_correct(surely_other, uniform_prior(3), torch.tensor([0.0, 1.0, 0.0])).exp()
    torch.testing.assert_close(corrected, torch.tensor([[0.0, 1.0, 0.0]]))


def test_rows_are_weighted_to_the_training_shares():
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    weights = training_weights(labels, [90, 9, 1])
    shares = torch.zeros(3).double().index_add_(0, labels, weights) / weights.sum()
    torch.testing.assert_close(shares, torch.tensor([0.9, 0.09, 0.01]).double())
    own = training_weights(labels, [90, 9, 1], torch.tensor([1.0, 1, 2, 1, 3, 1]))
    assert own[2] / own[0] == pytest.approx(2)
    assert own[4] / own[3] == pytest.approx(3)


def test_biases_do_not_learn_the_shares_of_the_held_out_rows():
    """A right model, held-out rows of other shares than the training set's: it must be left as it is, and mostly is."""
    kept = {"weighted": 0, "alike": 0}
    for seed in range(12):
        logits, labels = honest(rows=2000, seed=seed)
        rows = torch.cat([(labels == topic).nonzero().flatten()[: 120 >> topic] for topic in range(5)])
        weights = training_weights(labels[rows], torch.bincount(labels, minlength=5))
        kept["weighted"] += fit_calibration(logits[rows], labels[rows], weights=weights).report.kept
        kept["alike"] += fit_calibration(logits[rows], labels[rows]).report.kept
    assert kept["weighted"] <= 3
    assert kept["alike"] >= 10


def test_one_temperature_stands_in_for_biases_that_are_noise():
    logits, labels = honest(rows=300)
    report = fit_calibration(4 * logits, labels).report
    assert (report.kind, report.asked, report.kept) == ("temperature", "bias_corrected_temperature", True)
    assert "as good as bias corrected temperature" in str(report)
