"""Probe, tuned head, or the head refitted on tuned features: which answers held-out rows best, and how sure it may be.

Knows logits, labels and heads; no model. All logits favour no topic.
"""

from dataclasses import dataclass

from torch import Tensor

from ..balance import both_nlls, fit_scale
from .linear_head import LinearHead

SHARES = (0.0, 0.5, 1.0)  # of the refitted head in the sum of both


@dataclass(frozen=True)
class Choice:
    """What was chosen on held-out rows.

    Attributes:
        refit_share: Share of the refitted head in the sum with the tuned one; None: the probe is kept.
        scales: What the logits of the tuned and of the refitted head are multiplied by before they are summed.
        scale: What the sum is multiplied by.
        logits: Logits of the held-out rows (n, C) by what was chosen, scaled; nan for rows that were not held out.
        losses: Held-out log-loss of the choice and of the probe, in nats: under the rows' own shares, and with topics
            alike.
    """

    refit_share: float | None
    scales: tuple[float, float]
    scale: float
    logits: Tensor
    losses: tuple[tuple[float, float], tuple[float, float]]

    def head(self, tuned: LinearHead, refit: LinearHead) -> LinearHead:
        """One head out of the two, on the same features."""
        assert self.refit_share is not None
        both = tuned.scaled((1 - self.refit_share) * self.scales[0]) + refit.scaled(self.refit_share * self.scales[1])
        return both.scaled(self.scale)

    def __str__(self) -> str:
        (natural, alike), (natural_probe, alike_probe) = self.losses
        kept = {None: "the probe is kept", 0.0: "the tuned head", 1.0: "a head refitted on tuned features"}
        what = kept.get(self.refit_share, "the tuned head and one refitted on its features, half and half")
        return (
            f"tuning: held-out log-loss {natural:.4f} nats where the probe has {natural_probe:.4f}, "
            f"topics alike {alike:.4f} and {alike_probe:.4f}: {what}"
        )


def choose(
    probe: Tensor, tuned: Tensor, refit: Tensor, labels: Tensor, prior: Tensor, weights: Tensor | None = None
) -> Choice:
    """Choose by the sum of two held-out log-losses, each in units of the probe's: natural shares, and topics alike.

    Args:
        probe: Logits (n, C) by probes that were not fitted on the row, nan where none was.
        tuned: The same by tuned heads.
        refit: The same by heads refitted on tuned features.
        labels: Topics (n,).
        prior: The shares (C,) that the rows come with.
        weights: How much each row counts (n,), alike unless given.
    """
    known = probe.isfinite().all(-1)
    if not known.any():
        return Choice(None, (1.0, 1.0), 1.0, probe, ((0.0, 0.0), (0.0, 0.0)))
    own, counting = labels[known], None if weights is None else weights[known]
    scales = fit_scale(tuned[known], own, prior, counting), fit_scale(refit[known], own, prior, counting)
    sums: dict[float | None, Tensor] = {None: probe}
    sums |= {share: (1 - share) * scales[0] * tuned + share * scales[1] * refit for share in SHARES}
    scaled, losses = {}, {}
    for share, logits in sums.items():
        scale = fit_scale(logits[known], own, prior, counting)
        scaled[share] = scale, logits * scale
        losses[share] = both_nlls(logits[known] * scale, own, prior, counting)
    best = min(sums, key=lambda share: sum(x / max(y, 1e-9) for x, y in zip(losses[share], losses[None], strict=True)))
    scale, logits = scaled[best]
    return Choice(best, scales, scale, logits, (losses[best], losses[None]))
