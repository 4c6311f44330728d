from .calibration import (
    FLOOR,
    Calibration,
    CalibrationReport,
    check_calibration_kind,
    fit_calibration,
    mean_posterior,
    prior_correct,
    prior_from_counts,
    share_weights,
    uniform_prior,
)
from .conformal import ConformalSets, fit_conformal, rows_needed
from .confusion import shares_shifted
from .decisions import UNDECIDED, Decision, TunedOffsets, tune_offsets
from .fitted_decision import FittedDecision, fit_decision
from .held_out import HeldOutRows
from .label_errors import DoubtedLabels, doubt_labels, symmetric_confusion
from .label_shift import bbse_prior, em_prior, em_standard_error, shrunk_em_prior
from .links import LossLink, loss_link
from .losses import TopicLoss, make_loss
from .metrics import (
    BINS,
    calibration_error,
    judged_prior_pull,
    negative_log_likelihood,
    prior_pull,
    reliability,
    skew,
    topic_metrics,
    topic_recall,
)
from .noise import denoised_labels, noise_from_rate, noise_matrix
from .posterior import HeldOutScores, PosteriorCorrector, resolve_prior
from .prior_errors import bootstrap_errors
from .priors import prior_from_loss, prior_from_predictions
from .sampling import SampledRow, SampledRows, TemperedSampler, span_dropout, tempered_counts
from .scaling import fit_scale, natural_and_uniform_nll, paired_difference, row_nll
from .settings import CalibrationKind, ConformalKind, DecisionSettings, LossSettings, TargetPrior, TunedMetric
from .target_estimate import (
    AdaptedPrior,
    ShiftEstimate,
    adapt_target,
    estimate_target,
    target_of_rows,
)
from .thresholds import ConfidenceThreshold, threshold_for_accuracy, threshold_for_undecided
from .weights import Counts, class_weights, derive_beta, describe_weights, effective_number, inverse_frequency

__all__ = [
    "DoubtedLabels",
    "doubt_labels",
    "symmetric_confusion",
    "AdaptedPrior",
    "adapt_target",
    "denoised_labels",
    "natural_and_uniform_nll",
    "fit_scale",
    "row_nll",
    "paired_difference",
    "shrunk_em_prior",
    "BINS",
    "Calibration",
    "FLOOR",
    "CalibrationKind",
    "CalibrationReport",
    "check_calibration_kind",
    "ConfidenceThreshold",
    "ConformalKind",
    "ConformalSets",
    "Counts",
    "PosteriorCorrector",
    "Decision",
    "DecisionSettings",
    "FittedDecision",
    "HeldOutRows",
    "HeldOutScores",
    "LossLink",
    "LossSettings",
    "ShiftEstimate",
    "TargetPrior",
    "TemperedSampler",
    "TopicLoss",
    "TunedMetric",
    "TunedOffsets",
    "UNDECIDED",
    "SampledRow",
    "SampledRows",
    "bbse_prior",
    "bootstrap_errors",
    "calibration_error",
    "class_weights",
    "derive_beta",
    "describe_weights",
    "effective_number",
    "em_prior",
    "em_standard_error",
    "estimate_target",
    "fit_calibration",
    "fit_conformal",
    "fit_decision",
    "prior_from_loss",
    "inverse_frequency",
    "judged_prior_pull",
    "loss_link",
    "make_loss",
    "mean_posterior",
    "topic_metrics",
    "prior_from_predictions",
    "negative_log_likelihood",
    "noise_matrix",
    "prior_correct",
    "prior_from_counts",
    "prior_pull",
    "noise_from_rate",
    "reliability",
    "resolve_prior",
    "rows_needed",
    "share_weights",
    "shares_shifted",
    "skew",
    "span_dropout",
    "target_of_rows",
    "tempered_counts",
    "threshold_for_accuracy",
    "threshold_for_undecided",
    "topic_recall",
    "tune_offsets",
    "uniform_prior",
]
