"""unskew.balance: the mathematics against skew, tensors in and tensors out; no files, no models. Needs torch alone."""

from .calibration import (
    Calibration,
    CalibrationKind,
    CalibrationReport,
    fit_calibration,
    model_prior,
    prior_correct,
    prior_from_counts,
    uniform_prior,
)
from .conformal import ConformalSets, fit_conformal, rows_needed
from .deciding import Decider, TargetPrior, resolve_prior
from .implied import implied_prior, measured_prior
from .losses import LossSettings, TopicLoss, make_loss
from .measures import measure, prior_pull, topic_recall
from .noise import noise_matrix, redrawn_noise
from .sampling import TemperedDraw, View, span_dropout, tempered_counts
from .shift import bbse_prior, em_prior, em_standard_error
from .weights import class_weights, derive_beta, describe_weights, effective_number, inverse_frequency

__all__ = [
    "Calibration",
    "CalibrationKind",
    "CalibrationReport",
    "ConformalSets",
    "Decider",
    "LossSettings",
    "TargetPrior",
    "TemperedDraw",
    "TopicLoss",
    "View",
    "bbse_prior",
    "class_weights",
    "derive_beta",
    "describe_weights",
    "effective_number",
    "em_prior",
    "em_standard_error",
    "fit_calibration",
    "fit_conformal",
    "implied_prior",
    "inverse_frequency",
    "make_loss",
    "measure",
    "measured_prior",
    "model_prior",
    "noise_matrix",
    "prior_correct",
    "prior_from_counts",
    "prior_pull",
    "redrawn_noise",
    "resolve_prior",
    "rows_needed",
    "span_dropout",
    "tempered_counts",
    "topic_recall",
    "uniform_prior",
]
