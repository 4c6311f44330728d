"""NaN and infinity are refused where they enter, and never come out as a result."""

import math

import pytest
import torch

from unskew.balance import (
    Calibration,
    Decision,
    PosteriorCorrector,
    adapt_target,
    bbse_prior,
    denoised_labels,
    em_prior,
    estimate_target,
    fit_calibration,
    fit_conformal,
    fit_scale,
    prior_correct,
    prior_from_predictions,
    shrunk_em_prior,
    threshold_for_accuracy,
    threshold_for_undecided,
    topic_metrics,
    tune_offsets,
)
from unskew.common import UserError
from unskew.corpus import Topics

TOPICS = Topics(("a", "b", "c"), (60, 30, 10))
PRIOR = torch.tensor(TOPICS.prior)
TARGETS = torch.arange(3).repeat_interleave(7)
FINE = torch.nn.functional.one_hot(TARGETS, 3).float()
CORRECTOR = PosteriorCorrector(TOPICS, TOPICS.prior, Calibration(), TOPICS.prior)

OF_LOGITS = {
    "calibration": lambda rows: fit_calibration(rows, TARGETS),
    "a fitted calibration": lambda rows: Calibration()(rows),
    "held-out rows": lambda rows: CORRECTOR.calibrate(rows, TARGETS, "none"),
    "prediction": lambda rows: CORRECTOR(rows),
    "prediction with topics alike": lambda rows: CORRECTOR.uniform_probabilities(rows),
    "prior correction": lambda rows: prior_correct(rows, PRIOR, PRIOR),
    "scale": lambda rows: fit_scale(rows, TARGETS, PRIOR),
    "adaptive prior": lambda rows: adapt_target(CORRECTOR, rows),
    "estimated prior": lambda rows: estimate_target(CORRECTOR, rows),
    "shrunk prior": lambda rows: shrunk_em_prior(rows, PRIOR),
}
OF_PROBABILITIES = {
    "conformal": lambda rows: fit_conformal(rows, TARGETS),
    "conformal sets": lambda rows: fit_conformal(FINE, TARGETS)(rows),
    "evaluation": lambda rows: topic_metrics(rows, TARGETS, TOPICS.counts),
    "EM": lambda rows: em_prior(rows, PRIOR),
    "black-box shift": lambda rows: bbse_prior(FINE, TARGETS, rows),
    "black-box shift, held out": lambda rows: bbse_prior(rows, TARGETS, FINE),
    "measured prior": lambda rows: prior_from_predictions(rows, TARGETS, PRIOR),
    "offsets": lambda rows: tune_offsets(rows, TARGETS, "macro_f1"),
    "threshold": lambda rows: threshold_for_accuracy(rows, TARGETS, 0.5),
    "threshold for undecided": lambda rows: threshold_for_undecided(rows, TARGETS, 0.5),
    "decision": Decision(),
    "noisy labels": lambda rows: denoised_labels(rows, TARGETS),
}
OF_WEIGHTS = {
    "calibration": lambda weights: fit_calibration(FINE, TARGETS, weights=weights),
    "offsets": lambda weights: tune_offsets(FINE, TARGETS, "macro_f1", weights),
    "threshold": lambda weights: threshold_for_accuracy(FINE, TARGETS, 0.5, weights=weights),
}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("enters", [*OF_LOGITS.items(), *OF_PROBABILITIES.items()], ids=lambda item: item[0])
def test_in_logits_and_probabilities(enters, bad):
    rows = FINE.clone()
    rows[4, 1] = bad
    with pytest.raises(UserError):
        enters[1](rows)


@pytest.mark.parametrize("enters", OF_WEIGHTS.items(), ids=lambda item: item[0])
def test_in_weights(enters):
    weights = torch.ones(len(TARGETS))
    weights[4] = math.nan
    with pytest.raises(UserError):
        enters[1](weights)
