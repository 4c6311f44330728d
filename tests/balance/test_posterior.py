"""From logits to decisions: the priors are exchanged exactly."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unskew.balance import (
    Calibration,
    DecisionSettings,
    LossSettings,
    PosteriorCorrector,
    prior_from_counts,
    prior_from_loss,
    resolve_prior,
)
from unskew.common import UserError
from unskew.corpus import Topics

TOPICS = Topics(("a", "b", "c"), (90, 9, 1))
LIKELIHOOD = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.1, 0.1, 0.8]])


def posterior(prior):
    joint = LIKELIHOOD * torch.tensor(prior)
    return joint / joint.sum(1, keepdim=True)


def corrector(model_prior, target):
    return PosteriorCorrector(TOPICS, tuple(model_prior), Calibration(), tuple(target))


@given(
    st.lists(st.floats(0.01, 1), min_size=3, max_size=3),
    st.lists(st.floats(0.01, 1), min_size=3, max_size=3),
)
def test_whatever_prior_was_taught_the_target_prior_decides(taught, target):
    taught = [share / sum(taught) for share in taught]
    target = [share / sum(target) for share in target]
    probabilities = corrector(taught, target)(posterior(taught).log())
    torch.testing.assert_close(probabilities, posterior(target), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (LossSettings(weights="none"), prior_from_counts([90, 9, 1])),
        (LossSettings(weights="balanced"), torch.full((3,), 1 / 3)),
        (LossSettings(name="balanced_softmax"), torch.full((3,), 1 / 3)),
        (LossSettings(name="logit_adjusted", tau=0.5), torch.tensor([90.0, 9, 1]).sqrt() / sum([90**0.5, 3, 1])),
        (LossSettings(weights={"a": 1, "b": 10, "c": 90}), torch.full((3,), 1 / 3)),
    ],
)
def test_prior_that_a_loss_teaches(settings, expected):
    taught = prior_from_loss(settings, TOPICS.counts, TOPICS.names)
    torch.testing.assert_close(taught, expected, check_dtype=False, rtol=1e-4, atol=1e-6)


def test_training_to_the_minimum_teaches_the_implied_prior():
    """One feature-less model per loss: its softmax converges to the prior that the loss teaches."""
    from unskew.balance import make_loss

    labels = torch.tensor([0] * 90 + [1] * 9 + [2])
    for settings in (LossSettings(), LossSettings(weights="none"), LossSettings(name="logit_adjusted", tau=0.7)):
        bias = torch.zeros(3, requires_grad=True)
        loss = make_loss(settings, TOPICS.counts)
        optimizer = torch.optim.LBFGS([bias], max_iter=200, line_search_fn="strong_wolfe")

        def step(bias=bias, loss=loss, optimizer=optimizer):
            optimizer.zero_grad()
            value = loss(bias.expand(100, 3), labels)
            value.backward()
            return value

        optimizer.step(step)
        torch.testing.assert_close(
            bias.softmax(0).double(), prior_from_loss(settings, TOPICS.counts), rtol=1e-2, atol=1e-4
        )


def test_calibration_is_fitted_under_the_training_prior():
    generator = torch.Generator().manual_seed(0)
    labels = torch.multinomial(prior_from_counts(TOPICS.counts).float(), 3000, True, generator=generator)
    signal = torch.nn.functional.one_hot(labels, 3) * 1.5 + torch.randn(3000, 3, generator=generator)
    overconfident = signal * 4
    plain = corrector([1 / 3] * 3, [1 / 3] * 3)
    fitted = plain.calibrate(overconfident, labels, "temperature")
    assert fitted.calibration.report is not None
    assert fitted.calibration.report.kept
    assert fitted.calibration.log_temperature[0] > 0.5


def test_natural_probabilities_are_those_under_the_training_prior():
    natural = corrector([0.2, 0.3, 0.5], [1, 0, 0]).calibrated_log_probs(posterior([0.2, 0.3, 0.5]).log()).exp()
    torch.testing.assert_close(natural, posterior([0.9, 0.09, 0.01]), rtol=1e-4, atol=1e-6)


def test_weights_of_calibration_rows_are_kept_for_what_is_refitted_on_them():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(80)
    logits = 2 * torch.nn.functional.one_hot(labels, 3) + torch.randn(240, 3, generator=generator)
    labels[:60] = labels[:60].roll(1)  # wrong, and worth next to nothing
    weights = torch.cat([torch.full((60,), 1e-6), torch.ones(180)])
    plain = corrector([1 / 3] * 3, [1 / 3] * 3)
    fitted = plain.calibrate(logits, labels, "temperature", weights)
    assert fitted.calibration != plain.calibrate(logits, labels, "temperature").calibration
    again = fitted.held_out_log_probs().exp().gather(-1, labels[:, None])[:, 0]
    torch.testing.assert_close(again, torch.tensor(fitted.held_out.scores), rtol=0, atol=2e-3)
    rows = fitted.rows
    refitted = fitted.recalibrated(rows.logits.float(), rows.labels.long(), rows.weights).calibration
    assert refitted.log_temperature == pytest.approx(fitted.calibration.log_temperature, abs=5e-3)
    asked = DecisionSettings(undecided=0.2)
    threshold = fitted.with_decision(asked).decision.threshold
    assert threshold.accuracy > plain.calibrate(logits, labels, "none").with_decision(asked).decision.threshold.accuracy


def test_survives_json():
    made = corrector([0.5, 0.25, 0.25], [0.2, 0.3, 0.5])
    again = PosteriorCorrector.from_dict(json.loads(json.dumps(made.to_dict())))
    assert torch.equal(again(torch.eye(3)), made(torch.eye(3)))


def test_priors_by_name():
    assert resolve_prior("uniform", TOPICS) == pytest.approx((1 / 3,) * 3)
    assert resolve_prior("train", TOPICS) == pytest.approx((0.9, 0.09, 0.01))
    assert resolve_prior({"c": 3, "a": 1}, TOPICS) == pytest.approx((0.25, 0, 0.75))


@pytest.mark.parametrize(
    "prior",
    [{"d": 1}, {"a": -1, "b": 2}, {"a": 0}, {"a": float("nan")}, {"a": "x"}, {"a": 10**400}, {"a": None}, "estimate"],
)
def test_refuses_what_is_no_prior(prior):
    with pytest.raises(UserError):
        resolve_prior(prior, TOPICS)


def test_scores_of_rows_that_are_surely_wrong_keep_their_order():
    labels = torch.arange(20) % 2
    logits = torch.zeros(20, 2)
    logits[torch.arange(20), 1 - labels] = torch.linspace(17, 40, 20)
    corrector = PosteriorCorrector(Topics(("a", "b"), (10, 10)), (0.5, 0.5), Calibration(), (0.5, 0.5))
    scores = corrector.calibrate(logits, labels, "none").held_out.scores
    assert list(scores) == sorted(scores, reverse=True)
    assert 0 < scores[-1] < 1e-16
    assert all(score == float(f"{score:.7g}") for score in scores)
