"""Class weights from training counts.

Knows counts and topic names; knows nothing of losses, files or models. scikit-learn's `compute_class_weight` has only
"balanced" and a dict, and this room needs only torch, so the four schemes are here.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..common import UserError
from .settings import Scheme

Counts = Sequence[float] | Tensor
MOST_COVERING = 100.0  # rows that cover a topic, at most


def as_counts(counts: Counts) -> Tensor:
    """Training rows per topic as a float64 tensor (C,).

    A topic without rows counts as having one: a noisy set may lack a topic of the clean set, and no weight or log prior
    may be infinite. Weighted rows may add up to less than one.
    """
    values = torch.as_tensor(counts, dtype=torch.float64).detach().cpu()
    if values.ndim != 1 or len(values) == 0:
        raise UserError(f"counts must be one number per topic, got shape {tuple(values.shape)}")
    if not (values.isfinite().all() and values.min() >= 0 and values.max() > 0):
        raise UserError(f"counts must be numbers of rows, at least one of them over 0, got {values.tolist()[:5]}")
    return torch.where(values > 0, values, 1.0)


def inverse_frequency(counts: Counts, exponent: float = 1.0) -> Tensor:
    """Weights (C,) proportional to n_c^-exponent: 1 is scikit-learn's "balanced", 0 is no weighting."""
    return normalise(as_counts(counts) ** -exponent, counts)


def derive_beta(counts: Counts) -> float:
    """Beta of the effective number when none is given: 1 - 1/N with N the mean training rows per topic, at most 100.

    In Cui et al. (2019) beta = (N - 1)/N, where N is the number of distinct examples of a topic, tuned by hand. With N
    the mean count, topics below the mean are weighted about as by inverse frequency, and topics far above it count as
    covered: no weight falls under that of N rows. Any fixed beta would be inverse frequency for small files (beta
    0.9999: 100 rows count as 99.5) and no weighting for huge ones.

    The cap is that of the band "many": a topic of over 100 rows counts as covered. Without it, one row could weigh
    thousands of times as much as another, and the model would learn a few rows by heart.
    """
    return 1.0 - 1.0 / _covering_rows(counts)


def _covering_rows(counts: Counts) -> float:
    return min(MOST_COVERING, as_counts(counts).mean().item())


def effective_number(counts: Counts, beta: float | None = None) -> Tensor:
    """Weights (C,) proportional to (1 - beta) / (1 - beta^n_c): class-balanced loss, Cui et al. 2019, section 4.

    beta in [0, 1); None derives it from the counts (see `derive_beta`).
    """
    beta = derive_beta(counts) if beta is None else beta
    if not 0 <= beta < 1:
        raise UserError(f"beta must be in [0, 1), got {beta}")
    # expm1 and log1p: with beta = 1 - 1e-8 the plain form loses half its digits.
    log_beta = math.log1p(beta - 1) if beta > 0 else -math.inf
    return normalise(-1.0 / torch.expm1(as_counts(counts) * log_beta), counts)


def given_weights(weights: Mapping[str, float], names: Sequence[str], counts: Counts) -> Tensor:
    """Weights (C,) in the order of `names` from {topic: weight}; an unnamed topic gets 1, as in scikit-learn."""
    unknown = sorted(set(weights) - set(names))
    if unknown:
        raise UserError(f"weights name topics that are not in the training set: {unknown[:5]}")
    bad = sorted(name for name, weight in weights.items() if not (weight > 0 and math.isfinite(weight)))
    if bad:
        raise UserError(f"weights must be positive numbers, those of {bad[:5]} are not")
    return normalise(torch.tensor([float(weights.get(name, 1.0)) for name in names], dtype=torch.float64), counts)


def normalise(weights: Tensor, counts: Counts) -> Tensor:
    """Scale weights (C,) to a mean of 1 over the training rows: sum_c n_c w_c = sum_c n_c.

    The expected weighted loss then has the scale of the plain loss, learning rates carry over, and the sum of row
    losses can be divided by the number of rows, whatever the batch. (Cui et al. scale to a mean of 1 over topics.)
    """
    rows = as_counts(counts)
    if weights.shape != rows.shape:
        raise UserError(f"{len(weights)} weights for {len(rows)} topics")
    return weights * (rows.sum() / (weights * rows).sum())


def class_weights(
    scheme: Scheme | Mapping[str, float],
    counts: Counts,
    *,
    beta: float | None = None,
    exponent: float | None = None,
    names: Sequence[str] | None = None,
) -> Tensor:
    """Weights (C,) of a scheme or of {topic: weight} (which needs `names`): float64, with a mean of 1 per training row.

    "none": ones. "balanced": N / (C n_c). "inverse_frequency": n_c^-exponent. "effective_number": `beta`.
    """
    if isinstance(scheme, Mapping):
        if names is None:
            raise UserError("weights given by topic need the topic names: pass names, in the order of counts")
        return given_weights(scheme, names, counts)
    match scheme:
        case "none":
            return torch.ones_like(as_counts(counts))
        case "balanced":
            return inverse_frequency(counts)
        case "inverse_frequency":
            return inverse_frequency(counts, 1.0 if exponent is None else exponent)
        case "effective_number":
            return effective_number(counts, beta)
    raise UserError(f"unknown weights {scheme!r}; give one of none, balanced, inverse_frequency, effective_number")


def describe_weights(
    scheme: Scheme | Mapping[str, float],
    counts: Counts,
    *,
    beta: float | None = None,
    exponent: float | None = None,
    names: Sequence[str] | None = None,
) -> str:
    """One line for a log: the scheme, its parameter and the source of that, and the range of the weights."""
    if scheme == "none":
        return "no class weights"
    label = "given by topic" if isinstance(scheme, Mapping) else scheme.replace("_", " ")
    if scheme == "inverse_frequency":
        label += f" (exponent {1.0 if exponent is None else exponent:g})"
    elif scheme == "effective_number" and beta is None:
        mean, covering = as_counts(counts).mean().item(), _covering_rows(counts)
        source = "the mean rows per topic" if covering == mean else f"a cap; the mean rows per topic are {mean:.4g}"
        label += f" (beta {derive_beta(counts):.6g}, derived: 1 - 1/{covering:.4g}, {source})"
    elif scheme == "effective_number":
        label += f" (beta {beta:.6g}, given)"
    weights = class_weights(scheme, counts, beta=beta, exponent=exponent, names=names)
    return f"class weights: {label}, from {weights.min().item():.3g} to {weights.max().item():.3g}"
