"""The frozen probe: a linear head on fixed features, with every choice made on held-out rows.

Knows features, labels and folds; knows no text and no transformer. Choices are made by the log-loss of rows that the
head was not fitted on (cross-fitting), under the rows' own shares. Synthetic rows are trained on, but nothing is chosen
by them: they were kept because an encoder was sure of them.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..balance import denoised_labels, fit_scale, paired_difference, row_nll, shrunk_em_prior
from .folds import ALWAYS_TRAINED
from .linear_head import LabelledFeatures, LinearHead, fit_linear_head

log = logging.getLogger("unskew")

STRENGTHS = (3.0, 10.0, 30.0, 100.0)
NOISY_WEIGHT = 0.3  # weight of a noisy row relative to a clean one
NOISY_ITERATIONS = 60
NOISY_PSEUDO_ROWS = 20.0  # rows with the clean shares, added when the noisy set's shares are estimated
SURE = 2.0  # standard errors by which a choice must beat the default


@dataclass(frozen=True)
class ProbeRows:
    """The rows to fit a probe on.

    Attributes:
        clean: Clean rows.
        names: One row for each topic with its name as the text; None if left out.
        noisy: Noisy rows with their given topics; None if there are none or they are left out.
        topics: Number of topics C.
        synthetic: Mask (n,) of the clean rows that a model wrote; None if there are none.
    """

    clean: LabelledFeatures
    names: LabelledFeatures | None
    noisy: LabelledFeatures | None
    topics: int
    synthetic: Tensor | None = None

    @property
    def prior(self) -> Tensor:
        """The shares (C,) of the clean rows."""
        counts = self.clean.counts(self.topics)
        return counts / counts.sum()

    @property
    def measured(self) -> Tensor:
        """Mask (n,) of the clean rows to measure on: those that are not synthetic."""
        return torch.ones(len(self.clean.labels), dtype=torch.bool) if self.synthetic is None else ~self.synthetic

    def only_measured(self) -> "ProbeRows":
        """These rows without the synthetic ones."""
        return self if self.synthetic is None else self.without(self.synthetic)

    def without(self, held_out: Tensor) -> "ProbeRows":
        """These rows without the clean rows in a mask (n,)."""
        kept = ~held_out
        clean = LabelledFeatures(self.clean.features[kept], self.clean.labels[kept], self.clean.weights[kept])
        return replace(self, clean=clean, synthetic=None if self.synthetic is None else self.synthetic[kept])


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        head: Scaled head, fitted on all rows.
        held_out: Scaled logits (n, C) of each clean row by a head that did not see it; nan if there is none, and for
            synthetic rows.
        strength: Chosen regularisation, scikit-learn's C.
        scale: Factor of the logits.
        names: Whether topic names are among the rows.
        noisy: Change of the held-out log-loss by the noisy set in nats, negative if it helps; None if it was left out.
        report: Lines for a log.
    """

    head: LinearHead
    held_out: Tensor
    strength: float
    scale: float
    names: bool
    noisy: float | None
    report: tuple[str, ...]

    def used(self, rows: ProbeRows) -> ProbeRows:
        """The rows that the probe was fitted on."""
        return replace(rows, names=rows.names if self.names else None, noisy=None if self.noisy is None else rows.noisy)


@dataclass(frozen=True)
class _Candidate:
    """A way to fit, with the logits (n, C) of held-out rows, their scale and their losses (m,)."""

    strength: float
    logits: Tensor
    scale: float
    losses: Tensor


def fit_probe(rows: ProbeRows, folds: Sequence[int], strengths: Sequence[float] = STRENGTHS) -> Probe:
    """Choose strength, names and noisy rows on held-out rows, then fit on all.

    Args:
        rows: All rows that may be fitted on.
        folds: Folds of the clean rows (n,), from `deal_folds`.
        strengths: Regularisations to choose from, scikit-learn's C.
    """
    dealt = torch.tensor(folds)
    report = []
    clean = replace(rows, noisy=None)
    best = _best_strength(clean, dealt, strengths)
    if rows.names is not None:
        without = replace(clean, names=None)
        nameless = _best_strength(without, dealt, (best.strength,))
        worse, error = paired_difference(best.losses, nameless.losses)
        if worse > SURE * error:
            clean, best = without, _best_strength(without, dealt, strengths)
            report.append(f"topic names as rows are left out: {worse:+.4f} nats on held-out rows")
    chosen, brought = clean, None
    if rows.noisy is not None:
        noisy = replace(clean, noisy=rows.noisy)
        candidate, brought, line = _with_noisy(noisy, best, dealt)
        report.append(line)
        if candidate is not None:
            chosen, best = noisy, candidate
        else:
            brought = None
    head = fit_head(chosen, best.strength, best.scale).scaled(best.scale)
    held_out = bool(best.logits.isfinite().all(-1).any())
    measured = f"held-out log-loss {best.losses.mean():.4f} nats" if held_out else "no row could be held out"
    found = f"strength {best.strength:g}, {measured}"
    report.insert(0, found + (", topic names as rows" if clean.names is not None else ""))
    logits = best.logits * best.scale
    return Probe(head, logits, best.strength, best.scale, clean.names is not None, brought, tuple(report))


def fit_head(rows: ProbeRows, strength: float, scale: float, *, given: bool = True) -> LinearHead:
    """The unscaled head for the rows.

    Args:
        rows: Rows to fit on.
        strength: Regularisation, scikit-learn's C.
        scale: Scale of the clean head's logits, for its predictions on noisy rows.
        given: Whether the given topics of noisy rows count, besides the clean head's predictions for their texts.
    """
    blocks = [rows.clean] + ([rows.names] if rows.names is not None else [])
    head = fit_linear_head(blocks, rows.topics, strength)
    if rows.noisy is None:
        return head
    logits = head(rows.noisy.features) * scale
    shares = (logits.double() + shrunk_em_prior(logits, rows.prior, NOISY_PSEUDO_ROWS).log()).softmax(-1)
    labels = denoised_labels(shares, rows.noisy.labels) if given else shares
    soft = LabelledFeatures(rows.noisy.features, labels.float(), NOISY_WEIGHT)
    return fit_linear_head([*blocks, soft], rows.topics, strength, head, NOISY_ITERATIONS)


def _best_strength(rows: ProbeRows, folds: Tensor, strengths: Sequence[float]) -> _Candidate:
    logits = {strength: _nowhere(rows) for strength in strengths}
    for kept, held_out in _held_out(rows, folds):
        blocks = [kept.clean] + ([kept.names] if kept.names is not None else [])
        head = None
        for strength in strengths:
            head = fit_linear_head(blocks, rows.topics, strength, head)
            logits[strength][held_out] = head(rows.clean.features[held_out])
    candidates = [_candidate(rows, strength, found) for strength, found in logits.items()]
    return min(candidates, key=lambda candidate: candidate.losses.mean().item())


def _with_noisy(rows: ProbeRows, before: _Candidate, folds: Tensor) -> tuple[_Candidate | None, float, str]:
    """The fit with noisy rows, if it beats the fit without them and the fit with only their texts."""
    logits = {given: _nowhere(rows) for given in (True, False)}
    for kept, held_out in _held_out(rows, folds):
        for given, found in logits.items():
            head = fit_head(kept, before.strength, before.scale, given=given)
            found[held_out] = head(rows.clean.features[held_out])
    candidate, control = (_candidate(rows, before.strength, logits[given]) for given in (True, False))
    change, error = paired_difference(candidate.losses, before.losses)
    beside, doubt = paired_difference(candidate.losses, control.losses)
    # Any similar text helps a little, whatever its label: useless labels must not seem to help.
    helps = change < -SURE * error and beside < -SURE * doubt
    said = "helps and is used" if helps else "does not help and is left out"
    line = (
        f"the noisy set {said}: {change:+.4f} nats (standard error {error:.4f}) on held-out clean rows, "
        f"{beside:+.4f} against its texts without their topics"
    )
    return (candidate if helps else None), change, line


def _candidate(rows: ProbeRows, strength: float, logits: Tensor) -> _Candidate:
    known = logits.isfinite().all(-1)
    labels = rows.clean.labels[known]
    if not known.any():
        return _Candidate(strength, logits, 1.0, torch.zeros(1).double())
    weights, prior = rows.clean.weights[known], rows.only_measured().prior
    scale = fit_scale(logits[known], labels, prior, weights)
    # Scaled so that plain means of losses, and of their differences, are weighted means.
    losses = row_nll(logits[known] * scale, labels, prior) * weights / weights.mean()
    return _Candidate(strength, logits, scale, losses)


def _held_out(rows: ProbeRows, folds: Tensor) -> Iterator[tuple[ProbeRows, Tensor]]:
    """For each fold, the rows without it, and a mask (n,) of those of its rows that are measured on."""
    for fold in sorted(set(folds.tolist()) - {ALWAYS_TRAINED}):
        yield rows.without(folds == fold), (folds == fold) & rows.measured


def _nowhere(rows: ProbeRows) -> Tensor:
    return torch.full((len(rows.clean.labels), rows.topics), torch.nan)
