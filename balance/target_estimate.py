"""The target prior of a job, from its unlabelled rows.

Knows a `Decider`, its topics and logits; no model and no file. The estimators are label_shift.py's.
"""

import logging
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..common import UserError
from ..corpus import Topics
from .calibration import prior_from_counts
from .label_shift import em_prior, em_standard_error, shrunk_em_prior
from .posterior import Decider

log = logging.getLogger("unskew")

MOST_ROWS = 50_000  # standard errors are then under 0.01 where topics can be told apart at all
SHOWN = 3  # topics named in a log line
TEMPER = 0.125  # exponent of the training shares that the adaptive prior leans on
MAX_WIDTH = 0.4  # of a share's interval, above which an estimate is refused
Z = 1.96
RESAMPLES = 40
MOST_RESAMPLED = 5000


@dataclass(frozen=True)
class ShiftEstimate:
    """An estimated prior; as a string, the lines for a log.

    Attributes:
        topics: With their training counts.
        prior: The estimated share of each topic (C,), summing to 1. Shrunk toward the training shares p, where rows are
            few: (n q + 1/2 + C p / 2) / (n + C). An estimate of none would rule a topic out, and rare topics are what
            must not vanish.
        errors: Standard errors of the shares (C,): of the rows and, where `with_classifier`, of calibration and
            classifier.
        rows: How many it was estimated from.
        with_classifier: Whether held-out rows showed how far the classifier leads the estimate astray.
    """

    topics: Topics
    prior: tuple[float, ...]
    errors: tuple[float, ...]
    rows: int
    with_classifier: bool = False

    @property
    def intervals(self) -> tuple[tuple[float, float], ...]:
        """About 95% of each share (C,), within [0, 1]."""
        pairs = zip(self.prior, self.errors, strict=True)
        return tuple((max(0.0, share - Z * error), min(1.0, share + Z * error)) for share, error in pairs)

    @property
    def shares(self) -> dict[str, float]:
        """The prior by topic, as `Decider.aimed_at` takes it."""
        return dict(zip(self.topics.names, self.prior, strict=True))

    @property
    def divergence(self) -> float:
        """KL(estimated prior || training prior) in nats: how far the rows have moved from the training set."""
        estimated, trained = torch.tensor(self.prior).double(), prior_from_counts(self.topics.counts)
        return (estimated * (estimated / trained).log()).sum().item()

    def __str__(self) -> str:
        trained = prior_from_counts(self.topics.counts).tolist()
        moved = sorted(range(len(trained)), key=lambda topic: -abs(self.prior[topic] - trained[topic]))
        changes = "; ".join(
            f"{self.topics.names[topic]} {trained[topic]:.1%} -> {self.prior[topic]:.1%} ± {self.errors[topic]:.1%}"
            for topic in moved[:SHOWN]
        )
        return (
            f"target prior estimated from {self.rows} unlabelled rows, {self.divergence:.2f} nats (KL) from the "
            f"training prior\nlargest changes of share, ± standard error{self._of()}: {changes}"
        )

    def _of(self) -> str:
        return "" if self.with_classifier else " (of the rows alone: the classifier's own errors are not in it)"


@dataclass(frozen=True)
class AdaptedPrior:
    """A target prior that leans on tempered training shares and moves to what unlabelled rows say; as a string, a line.

    Attributes:
        topics: With their training counts.
        prior: The share of each topic (C,), summing to 1.
        rows: How many unlabelled rows it was adapted to.
    """

    topics: Topics
    prior: tuple[float, ...]
    rows: int

    @property
    def shares(self) -> dict[str, float]:
        """The prior by topic, as `Decider.aimed_at` takes it."""
        return dict(zip(self.topics.names, self.prior, strict=True))

    def __str__(self) -> str:
        most = max(range(len(self.prior)), key=lambda topic: self.prior[topic])
        return (
            f"target prior adapted to {self.rows:,} unlabelled rows, most of them {self.topics.names[most]!r} "
            f"({self.prior[most]:.1%}); give --target_prior uniform, train, or shares by topic where you know better"
        )


def target_of_rows(
    kind: Literal["adaptive", "estimate"], decider: Decider, logits: Tensor
) -> AdaptedPrior | ShiftEstimate:
    """What the target priors "adaptive" and "estimate" are for these rows: `adapt_target` or `estimate_target`."""
    return adapt_target(decider, logits) if kind == "adaptive" else estimate_target(decider, logits)


def adapt_target(decider: Decider, logits: Tensor) -> AdaptedPrior:
    """The prior with the least regret where nothing is known of unlabelled rows, from the encoder's logits (n, C).

    `shrunk_em_prior` around the eighth roots of the training shares, which lie near uniform: a few rows hardly move it,
    many leave it behind. Unlike `estimate_target` it refuses nothing.

    Args:
        decider: Its calibration and training prior; its target prior plays no part.
        logits: Of the rows, any number; over 50,000 are thinned out evenly.
    """
    logits = _thinned(logits)
    favouring_none = decider.aimed_at("uniform").log_probabilities(logits)
    prior = shrunk_em_prior(favouring_none, prior_from_counts(decider.topics.counts) ** TEMPER)
    return AdaptedPrior(decider.topics, tuple(prior.tolist()), len(logits))


def estimate_target(
    decider: Decider, logits: Tensor, held_out: tuple[Tensor, Tensor] | None = None, seed: int = 0
) -> ShiftEstimate:
    """Estimate the prior of unlabelled rows from the encoder's logits (n, C), by EM on calibrated probabilities.

    It is right to use where texts of a topic are what they were in training, only the mixture has moved, and rows come
    in the hundreds; not for a job whose shares are known, or that macro-recall is to be best for.

    Args:
        decider: Its calibration and training prior; its target prior plays no part.
        logits: Of the rows, any number; over 50,000 are thinned out evenly.
        held_out: Logits (m, C) and topics (m,) of labelled rows that the encoder was not trained on. With them errors
            are those of `bootstrap_errors`, which know the calibration's and the classifier's share; without them of
            the rows alone, which is too little wherever the classifier is not perfect.
        seed: Of that bootstrap.

    Raises:
        UserError: If the 95% interval of a share is wider than 0.4: too few rows, or topics that the encoder cannot
            tell apart.
    """
    if len(logits) == 0:
        raise UserError("there are no rows to estimate a target prior from")
    logits = _thinned(logits)
    if decider.calibration.report is None:
        log.warning("the target prior is estimated from probabilities that were never calibrated: trust it less")
    topics, trained = decider.topics, prior_from_counts(decider.topics.counts)
    probabilities = decider.natural(logits).exp()
    prior = em_prior(probabilities, trained, max_error=None)
    errors = em_standard_error(probabilities, trained, prior)
    _refuse_vague(errors, topics, len(logits))
    shrunk = _shrunk(prior, trained, len(logits))
    if held_out is not None:
        errors = bootstrap_errors(decider, logits, shrunk, *held_out, seed=seed).maximum(errors)
        _refuse_vague(errors, topics, len(logits))
    return ShiftEstimate(topics, tuple(shrunk.tolist()), tuple(errors.tolist()), len(logits), held_out is not None)


def bootstrap_errors(
    decider: Decider, logits: Tensor, prior: Tensor, held_out: Tensor, targets: Tensor, seed: int = 0
) -> Tensor:
    """Standard errors (C,) of an estimated prior (C,) that know calibration and classifier.

    The root of a variance and a squared bias. The variance is that of estimates over resampled unlabelled rows, each
    with a calibration refitted on held-out rows resampled within their topics. The bias is how far estimates from made
    up jobs, held-out rows drawn in the shares of `prior`, miss those: there the truth is known, and a classifier that
    takes one topic for another shows it.

    Args:
        decider: As for `estimate_target`.
        logits: Of the unlabelled rows (n, C); 5,000 of them are enough.
        prior: The estimate.
        held_out: Logits (m, C) of labelled rows.
        targets: Their topics (m,); topics without any are taken to be recognised.
        seed: Of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    logits, targets = logits[: min(len(logits), MOST_RESAMPLED)], targets.detach().cpu().long()
    trained, rows = prior_from_counts(decider.topics.counts), torch.bincount(targets, minlength=len(prior))
    known = torch.where(rows > 0, prior, 0.0)
    known = known / known.sum()
    drawing = (known / rows.clamp(min=1))[targets]
    estimates, made_up = [], []
    for _ in range(RESAMPLES):
        again = _within_topics(targets, generator)
        refitted = decider.refitted(held_out[again], targets[again])
        some = torch.randint(len(logits), (len(logits),), generator=generator)
        job = torch.multinomial(drawing, len(logits), replacement=True, generator=generator)
        for rows_, found in ((logits[some], estimates), (held_out[job], made_up)):
            found.append(_shrunk(em_prior(refitted.natural(rows_).exp(), trained, 1e-4, None), trained, len(rows_)))
    bias = torch.stack(made_up).mean(0) - _shrunk(known, trained, len(logits))
    return (torch.stack(estimates).var(0) + torch.where(rows > 0, bias, 0.0) ** 2).sqrt()


def _thinned(logits: Tensor) -> Tensor:
    if len(logits) <= MOST_ROWS:
        return logits
    return logits[torch.linspace(0, len(logits) - 1, MOST_ROWS, dtype=torch.float64).round().long()]


def _within_topics(targets: Tensor, generator: torch.Generator) -> Tensor:
    """Row numbers (m,), drawn with replacement from the rows of the same topic."""
    order = targets.argsort(stable=True)
    rows = torch.bincount(targets)
    first = rows.cumsum(0) - rows
    drawn = (torch.rand(len(targets), generator=generator, dtype=torch.float64) * rows[targets]).long()
    return order[first[targets] + drawn]


def _shrunk(prior: Tensor, trained: Tensor, rows: int) -> Tensor:
    topics = len(prior)
    return (rows * prior + 0.5 + topics * trained / 2) / (rows + topics)


def _refuse_vague(errors: Tensor, topics: Topics, rows: int) -> None:
    widest = MAX_WIDTH / (2 * Z)
    vague = [topic for topic in errors.argsort(descending=True).tolist() if not errors[topic] <= widest]
    if not vague:
        return
    named = ", ".join(f"{topics.names[topic]!r} ({errors[topic].item():.2g})" for topic in vague[:SHOWN])
    more = f" and {len(vague) - SHOWN} more" if len(vague) > SHOWN else ""
    raise UserError(
        f"the target prior of these {rows} rows cannot be estimated: the standard error of the share is over "
        f"{widest:.1f} for {named}{more}; give more rows, or a target prior (uniform, train, or shares by topic)"
    )
