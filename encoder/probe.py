"""The frozen probe: a linear head on fixed features, each choice about it made on held-out rows.

Knows features, labels and folds; no text and no transformer. Everything is chosen by the log-loss of rows that the
head was not fitted on (cross-fitting), under the shares that the rows come with.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..balance import denoised_labels, fit_scale, row_nll, shrunk_em_prior, smaller_by
from .linear_head import LabelledFeatures, LinearHead, fit_linear_head

log = logging.getLogger("unskew")

STRENGTHS = (3.0, 10.0, 30.0, 100.0)
NOISY_WEIGHT = 0.3  # of a noisy row beside a clean one
NOISY_ITERATIONS = 60
NOISY_PSEUDO_ROWS = 20.0  # of the clean shares, toward which the noisy set's shares are estimated
SURE = 2.0  # standard errors by which a choice against the usual one must win


@dataclass(frozen=True)
class ProbeRows:
    """What a probe is fitted on.

    Attributes:
        clean: The clean rows.
        names: One row for each topic, its name as the text; None where they are left out.
        noisy: Noisy rows with the topics they came with; None where there are none or they are left out.
        topics: How many there are, C.
    """

    clean: LabelledFeatures
    names: LabelledFeatures | None
    noisy: LabelledFeatures | None
    topics: int

    @property
    def prior(self) -> Tensor:
        """The shares (C,) of the clean rows."""
        counts = self.clean.counts(self.topics)
        return counts / counts.sum()

    def without(self, held_out: Tensor) -> "ProbeRows":
        """Without some of the clean rows, a mask (n,)."""
        kept = ~held_out
        clean = LabelledFeatures(self.clean.features[kept], self.clean.labels[kept], self.clean.weights[kept])
        return replace(self, clean=clean)


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        head: Fitted on all rows, scaled.
        held_out: Scaled logits (n, C) of each clean row by a head that did not see it; nan where there is none.
        strength: The regularisation chosen, scikit-learn's C.
        scale: What the logits were multiplied by.
        names: Whether topic names are among the rows.
        noisy: What the noisy set brought: nats of held-out log-loss, negative where it helps; None where it was left
            out.
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
        """Those of the rows that it was fitted on."""
        return replace(rows, names=rows.names if self.names else None, noisy=None if self.noisy is None else rows.noisy)


@dataclass(frozen=True)
class _Candidate:
    """A way to fit, with the logits (n, C) of the rows held out, their scale and their losses (m,)."""

    strength: float
    logits: Tensor
    scale: float
    losses: Tensor


def fit_probe(rows: ProbeRows, folds: Sequence[int], strengths: Sequence[float] = STRENGTHS) -> Probe:
    """Choose strength, names and noisy rows on held-out rows, then fit on all.

    Args:
        rows: All that could be fitted on.
        folds: Folds of the clean rows (n,), from `deal_folds`.
        strengths: Regularisations to choose from, scikit-learn's C.
    """
    dealt = torch.tensor(folds)
    report = []
    clean = replace(rows, noisy=None)
    best = _best_strength(clean, dealt, strengths)
    if rows.names is not None:
        nameless = _best_strength(replace(clean, names=None), dealt, strengths)
        worse, error = smaller_by(best.losses, nameless.losses)
        if worse > SURE * error:
            clean, best = replace(clean, names=None), nameless
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
    found = f"strength {best.strength:g}, held-out log-loss {best.losses.mean():.4f} nats"
    report.insert(0, found + (", topic names as rows" if clean.names is not None else ""))
    logits = best.logits * best.scale
    return Probe(head, logits, best.strength, best.scale, clean.names is not None, brought, tuple(report))


def fit_head(rows: ProbeRows, strength: float, scale: float, *, given: bool = True) -> LinearHead:
    """The head for the rows, unscaled.

    Args:
        rows: Clean rows, and where there are any names and noisy ones.
        strength: Regularisation, scikit-learn's C.
        scale: Scale of the clean head's logits, for what it says of noisy rows.
        given: Whether the topics that noisy rows came with count, beside what the clean head says of their texts.
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
    for held_out in _held_out(folds):
        kept = rows.without(held_out)
        blocks = [kept.clean] + ([kept.names] if kept.names is not None else [])
        head = None
        for strength in strengths:
            head = fit_linear_head(blocks, rows.topics, strength, head)
            logits[strength][held_out] = head(rows.clean.features[held_out])
    candidates = [_candidate(rows, strength, found) for strength, found in logits.items()]
    return min(candidates, key=lambda candidate: candidate.losses.mean().item())


def _with_noisy(rows: ProbeRows, before: _Candidate, folds: Tensor) -> tuple[_Candidate | None, float, str]:
    """The fit with noisy rows if it is better than without, and better than with their texts alone."""
    logits = {given: _nowhere(rows) for given in (True, False)}
    for held_out in _held_out(folds):
        for given, found in logits.items():
            head = fit_head(rows.without(held_out), before.strength, before.scale, given=given)
            found[held_out] = head(rows.clean.features[held_out])
    candidate, control = (_candidate(rows, before.strength, logits[given]) for given in (True, False))
    change, error = smaller_by(candidate.losses, before.losses)
    beside, doubt = smaller_by(candidate.losses, control.losses)
    # Any text of the kind helps a little, whatever its label: labels that say nothing must not pass for a help.
    helps = change < -SURE * error and beside < -SURE * doubt
    said = "helps and is trained on" if helps else "does not help and is left out"
    line = (
        f"the noisy set {said}: {change:+.4f} nats (standard error {error:.4f}) on held-out clean rows, "
        f"{beside:+.4f} beside its texts without their topics"
    )
    return (candidate if helps else None), change, line


def _candidate(rows: ProbeRows, strength: float, logits: Tensor) -> _Candidate:
    known = logits.isfinite().all(-1)
    labels = rows.clean.labels[known]
    if not known.any():
        return _Candidate(strength, logits, 1.0, torch.zeros(1).double())
    weights = rows.clean.weights[known]
    scale = fit_scale(logits[known], labels, rows.prior, weights)
    # Their mean, and that of differences, is the weighted one.
    losses = row_nll(logits[known] * scale, labels, rows.prior) * weights / weights.mean()
    return _Candidate(strength, logits, scale, losses)


def _held_out(folds: Tensor) -> list[Tensor]:
    return [folds == fold for fold in sorted(set(folds.tolist()) - {-1})]


def _nowhere(rows: ProbeRows) -> Tensor:
    return torch.full((len(rows.clean.labels), rows.topics), torch.nan)
