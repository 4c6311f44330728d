"""Standard errors of an estimated prior, by a bootstrap over the rows of a job and over held-out rows.

Knows a `PosteriorCorrector` and logits; knows no model and no file.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .held_out import HeldOutRows
from .posterior import PosteriorCorrector

RESAMPLES = 40
MOST_ROWS = 5000  # of a job; more would hardly change the errors

# From logits (n, C) and how often each row is in each of B resamples (n, B) to their priors (C, B).
Estimator = Callable[[PosteriorCorrector, Tensor, Tensor], Tensor]


def bootstrap_errors(
    corrector: PosteriorCorrector,
    logits: Tensor,
    likely: Tensor,
    held_out: HeldOutRows,
    estimator: Estimator,
    seed: int = 0,
) -> Tensor:
    """Standard errors (C,) of an estimated prior, including errors of the calibration and the classifier.

    Each is the root of a variance plus a squared bias. The variance is over estimates from resampled unlabelled rows,
    each with a calibration refitted on held-out rows resampled within their topics. The bias comes from simulated jobs:
    held-out rows drawn in the shares `likely`, for which the true shares are known. It shows a classifier that confuses
    topics.

    Args:
        corrector: Corrector, whose calibration and training prior are used and whose target prior is not.
        logits: Logits of the unlabelled rows (n, C); over 5,000 are thinned out evenly.
        likely: Best guess at the shares of the rows (C,), without the pull toward other shares that the estimate may
            have.
        held_out: Labelled rows; a topic without any is assumed to be recognised.
        estimator: Function that made the estimate.
        seed: Random seed of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    logits = thinned(logits, MOST_ROWS)
    own, labels = held_out.logits.float(), held_out.labels.long()
    rows = torch.bincount(labels, minlength=len(likely))
    known = torch.where(rows > 0, likely, 0.0)
    known = known / known.sum()
    drawing, evenly = (known / rows.clamp(min=1))[labels], torch.ones(len(logits))
    estimates, made_up = [], []
    # Without a calibration to refit, all resamples share their probabilities, and are estimated together.
    for size in [1] * RESAMPLES if corrector.is_calibrated else [RESAMPLES]:
        again = _within_topics(labels, generator)
        refitted = corrector.recalibrated(own[again], labels[again], held_out.weights[again])
        estimates.append(estimator(refitted, logits, _resamples(evenly, len(logits), size, generator)))
        made_up.append(estimator(refitted, own, _resamples(drawing, len(logits), size, generator)))
    bias = torch.where(rows > 0, torch.cat(made_up, -1).mean(-1) - known, 0.0)
    return (torch.cat(estimates, -1).var(-1) + bias**2).sqrt()


def _resamples(weights: Tensor, size: int, number: int, generator: torch.Generator) -> Tensor:
    """How often each row (n,) is in each of some samples of `size` rows (n, number), drawn by `weights` (n,)."""
    drawn = torch.multinomial(weights.expand(number, -1), size, replacement=True, generator=generator)
    times = torch.zeros(number, len(weights), dtype=torch.float64)
    return times.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64)).T


def thinned(logits: Tensor, most: int) -> Tensor:
    """At most `most` rows, taken evenly from all."""
    if len(logits) <= most:
        return logits
    return logits[torch.linspace(0, len(logits) - 1, most, dtype=torch.float64).round().long()]


def _within_topics(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Row numbers (m,), drawn with replacement from the rows of the same topic."""
    order = labels.argsort(stable=True)
    rows = torch.bincount(labels)
    first = rows.cumsum(0) - rows
    drawn = (torch.rand(len(labels), generator=generator, dtype=torch.float64) * rows[labels]).long()
    return order[first[labels] + drawn]
