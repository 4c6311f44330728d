"""Chooses among probe, tuned head and head refitted on tuned features by held-out rows, and scales the choice.

Knows logits, labels and heads; knows no model. All logits favour no topic.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..balance import fit_scale, natural_and_uniform_nll
from .linear_head import LinearHead

SHARES = (0.0, 0.5, 1.0)  # of the refitted head in the sum


@dataclass(frozen=True)
class Choice:
    """The choice made on held-out rows.

    Attributes:
        refit_share: Share of the refitted head in its sum with the tuned head; None keeps the probe.
        scales: Factors of the logits of the tuned and of the refitted head before they are summed.
        scale: Factor of the sum.
        logits: Scaled logits (n, C) of the chosen head on held-out rows; nan for rows that were not held out.
        losses: Held-out log-loss of the choice and of the probe, in nats: under the rows' own shares, and under equal
            topic shares. None if no row was held out.
    """

    refit_share: float | None
    scales: tuple[float, float]
    scale: float
    logits: Tensor
    losses: tuple[tuple[float, float], tuple[float, float]] | None

    def head(self, tuned: LinearHead, refit: LinearHead) -> LinearHead:
        """The chosen head, from the tuned and the refitted head on the same features."""
        assert self.refit_share is not None
        both = tuned.scaled((1 - self.refit_share) * self.scales[0]) + refit.scaled(self.refit_share * self.scales[1])
        return both.scaled(self.scale)

    def __str__(self) -> str:
        if self.losses is None:
            return "tuning: no row could be held out to compare by, so the probe is kept"
        (natural, alike), (natural_probe, alike_probe) = self.losses
        kept = {None: "the probe is kept", 0.0: "the tuned head", 1.0: "a head refitted on tuned features"}
        what = kept.get(self.refit_share, "the mean of the tuned head and a head refitted on its features")
        return (
            f"tuning: held-out log-loss {natural:.4f} nats (probe {natural_probe:.4f}), "
            f"under equal topic shares {alike:.4f} (probe {alike_probe:.4f}): {what}"
        )


def choose(
    probe: Tensor,
    tuned: Tensor,
    refit: Tensor,
    labels: Tensor,
    prior: Tensor,
    weights: Tensor | None = None,
    shares: Sequence[float] = SHARES,
) -> Choice:
    """Choose by the sum of two held-out log-losses relative to the probe's: under natural and under uniform shares.

    Where only some rows were held out, each stands for its share of all rows: the half row predicted by chance that
    `fit_scale` adds to each topic belongs to the whole set, and would outweigh the few held-out rows of a rare topic.

    Args:
        probe: Logits (n, C) of probes that were not fitted on the row; nan if there is none.
        tuned: Logits (n, C) of tuned heads, likewise.
        refit: Logits (n, C) of heads refitted on tuned features, likewise.
        labels: Topics (n,) of the rows.
        prior: Shares (C,) of the rows.
        weights: Weights of the rows (n,), equal unless given.
        shares: Shares of the refitted head to choose from.
    """
    known = probe.isfinite().all(-1)
    if not known.any():
        return Choice(None, (1.0, 1.0), 1.0, probe, None)
    own, weights = labels[known], torch.ones(len(labels)) if weights is None else weights
    counting = weights[known] * (len(known) / known.sum())
    scales = fit_scale(tuned[known], own, prior, counting), fit_scale(refit[known], own, prior, counting)
    sums: dict[float | None, Tensor] = {None: probe}
    sums |= {share: (1 - share) * scales[0] * tuned + share * scales[1] * refit for share in shares}
    scaled, losses = {}, {}
    for share, logits in sums.items():
        scale = fit_scale(logits[known], own, prior, counting)
        scaled[share] = scale, logits * scale
        losses[share] = natural_and_uniform_nll(logits[known] * scale, own, prior, counting)
    best = min(sums, key=lambda share: sum(x / max(y, 1e-9) for x, y in zip(losses[share], losses[None], strict=True)))
    scale, logits = scaled[best]
    return Choice(best, scales, scale, logits, (losses[best], losses[None]))
