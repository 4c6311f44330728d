"""From probabilities to decisions: offsets tuned for a measure, expected cost, and the confidence to decide at.

Knows probabilities and target indices; knows nothing of models or names of topics. scikit-learn's
TunedThresholdClassifierCV is for two classes; this is for any number of them.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..common import UserError
from . import confusion as counted
from .calibration import FOLDS, checked_probabilities, stratified_folds

TunedMeasure = Literal["macro_f1", "balanced_accuracy"]
UNDECIDED = -1
STEPS = torch.linspace(-4, 4, 65, dtype=torch.float64)  # nats: offsets that are tried
SWEEPS = 3
SURE = 0.95  # of a derived threshold


@dataclass(frozen=True)
class Decision:
    """Called with probabilities (n, C) it gives topic indices (n,); `UNDECIDED`, -1, where none is sure enough.

    Attributes:
        offsets: Nats (C,) added to the log-probabilities before the largest is taken; empty for none.
        costs: Of deciding for topic j where i is true, at [i][j]; empty decides for the most probable topic.
        least: The probability (C,) that a topic must have to be decided for; empty decides every row.
    """

    offsets: tuple[float, ...] = ()
    costs: tuple[tuple[float, ...], ...] = ()
    least: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.offsets and self.costs:
            raise UserError("a decision has tuned offsets or costs: they answer the same question in two ways")
        sizes = {len(part) for part in (self.offsets, self.costs, self.least, *self.costs) if part}
        if len(sizes) > 1:
            raise UserError(f"a decision over different numbers of topics: {sorted(sizes)}")
        if not torch.tensor([*self.offsets, *self.least, *(c for row in self.costs for c in row)]).isfinite().all():
            raise UserError("offsets, costs and least probabilities must be numbers")

    def __call__(self, probabilities: Tensor) -> Tensor:
        """Topic indices (n,)."""
        rows = checked_probabilities(probabilities)
        if self.costs:
            decided = (rows @ torch.tensor(self.costs, dtype=torch.float64)).argmin(-1)
        else:
            decided = (_log(rows) + torch.tensor(self.offsets or [0.0], dtype=torch.float64)).argmax(-1)
        if not self.least:
            return decided
        sure = rows.gather(-1, decided[:, None])[:, 0] >= torch.tensor(self.least, dtype=torch.float64)[decided]
        return torch.where(sure, decided, UNDECIDED)


@dataclass(frozen=True)
class TunedOffsets:
    """What `tune_offsets` found.

    Attributes:
        offsets: Nats (C,); all 0 where they did not help.
        before: The measure without offsets.
        after: The measure with offsets tuned on the other folds.
        kept: Whether they are in force.
    """

    offsets: tuple[float, ...]
    before: float
    after: float
    kept: bool


def tune_offsets(
    probabilities: Tensor, targets: Tensor, measure: TunedMeasure, weights: Tensor | None = None, seed: int = 0
) -> TunedOffsets:
    """Offsets (C,) of log-probabilities for the best macro-F1 or balanced accuracy, cross-fitted.

    Coordinate ascent over the topics, an offset at a time. Each row is decided with offsets tuned on the other four
    folds; they are kept where that is better than none, and are then the mean of the folds' offsets.

    Args:
        probabilities: Of held-out rows (n, C).
        targets: Their topics (n,).
        measure: What to be best in.
        weights: Of the rows (n,), so that they come in the shares of the job: macro-F1 depends on these.
        seed: Of the folds.

    Raises:
        UserError: If there are fewer than five rows, or they hold no probabilities.
    """
    rows, targets = checked_probabilities(probabilities), targets.detach().cpu().long()
    own = torch.ones(len(targets), dtype=torch.float64) if weights is None else weights.detach().cpu().double()
    if rows.ndim != 2 or not len(rows) == len(targets) == len(own) or len(rows) < FOLDS:
        raise UserError(f"tuning offsets needs rows: {tuple(rows.shape)} probabilities, {tuple(targets.shape)} topics")
    log_p, fold = _log(rows), stratified_folds(targets, FOLDS, seed)
    decided, found = torch.empty_like(targets), []
    for number in range(FOLDS):
        rest, held_out = fold != number, fold == number
        offsets = _ascended(log_p[rest], targets[rest], own[rest], measure)
        decided[held_out] = (log_p[held_out] + offsets).argmax(-1)
        found.append(offsets)
    choices = torch.stack([log_p.argmax(-1), decided], 1)
    before, after = _measured(choices, targets, own, rows.shape[1], measure)
    kept = bool(after > before)
    mean = torch.stack(found).mean(0)
    offsets = mean - mean.mean() if kept else torch.zeros_like(mean)
    return TunedOffsets(tuple(offsets.tolist()), before.item(), after.item(), kept)


@dataclass(frozen=True)
class ConfidenceThreshold:
    """The least confidence to decide at, and what may be expected of it.

    Attributes:
        value: Rows whose most probable topic has less stay undecided.
        accuracy: Share of the decided held-out rows that were right; nan where none was decided.
        accuracy_interval: 95% interval of it (Clopper & Pearson 1934).
        undecided: Share of the held-out rows left undecided.
        undecided_interval: 95% interval of it.
    """

    value: float
    accuracy: float
    accuracy_interval: tuple[float, float]
    undecided: float
    undecided_interval: tuple[float, float]


def threshold_for_accuracy(probabilities: Tensor, targets: Tensor, accuracy: float) -> ConfidenceThreshold:
    """The lowest confidence from which decided rows are right with a wanted accuracy, with 95% certainty.

    Going down from the threshold that a fifth of the rows pass, each is tested in turn, exactly and at 5%, against a
    lower accuracy than wanted, and the last before the first to fail is taken: fixed-sequence testing, which holds for
    the threshold chosen and not only for one named before (Angelopoulos et al. 2021, arXiv:2110.01052). Holds for rows
    that come as the held-out ones did.

    Args:
        probabilities: Of held-out rows (n, C), calibrated on other rows.
        targets: Their topics (n,).
        accuracy: Wanted, in (0, 1).

    Raises:
        UserError: If no threshold reaches it: too few rows, or an accuracy that the model does not have.
    """
    from scipy.stats import binom  # half a second, which nobody else in this room needs

    confidence, right = _sorted_by_confidence(probabilities, targets)
    if not 0 < accuracy < 1:
        raise UserError(f"the wanted accuracy must lie in (0, 1), got {accuracy}")
    rows, hits = torch.arange(1, len(right) + 1), right.cumsum(0)
    passes = torch.from_numpy(binom.sf(hits.numpy() - 1, rows.numpy(), accuracy)) <= 1 - SURE
    # Fewer rows than `least` could not pass if all were right; a few more keep one early error from ending it.
    least = math.ceil(math.log(1 - SURE) / math.log(accuracy))
    last_of_ties = torch.cat([confidence[1:] < confidence[:-1], torch.tensor([True])])
    tested = (last_of_ties & (rows >= max(least, len(right) // 5))).nonzero().flatten()
    failed = (~passes[tested]).nonzero().flatten()
    passing = tested[: int(failed[0])] if len(failed) else tested
    if len(passing) == 0:
        raise UserError(
            f"no confidence makes decisions right in {accuracy:.1%} of {len(right)} held-out rows with 95% certainty; "
            "want less, or hold out more rows"
        )
    return _described(confidence, right, confidence[int(passing[-1])].item())


def threshold_for_undecided(probabilities: Tensor, targets: Tensor, share: float) -> ConfidenceThreshold:
    """The confidence that leaves about this share of rows undecided; for the arguments see `threshold_for_accuracy`."""
    confidence, right = _sorted_by_confidence(probabilities, targets)
    if not 0 <= share < 1:
        raise UserError(f"the share of undecided rows must lie in [0, 1), got {share}")
    return _described(confidence, right, confidence[max(0, round((1 - share) * len(confidence)) - 1)].item())


def _sorted_by_confidence(probabilities: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Confidence (n,), largest first, and whether each row is right (n,)."""
    rows, targets = checked_probabilities(probabilities), targets.detach().cpu().long()
    if rows.ndim != 2 or targets.shape != rows.shape[:1] or len(rows) == 0:
        raise UserError(f"a threshold needs rows: {tuple(rows.shape)} probabilities, {tuple(targets.shape)} topics")
    confidence, decided = rows.max(-1)
    order = confidence.argsort(descending=True, stable=True)
    return confidence[order], (decided == targets)[order].double()


def _described(confidence: Tensor, right: Tensor, value: float) -> ConfidenceThreshold:
    decided = confidence >= value
    rows, hits = int(decided.sum()), int(right[decided].sum())
    left = len(right) - rows
    accuracy = hits / rows if rows else float("nan")
    return ConfidenceThreshold(value, accuracy, _exact(hits, rows), left / len(right), _exact(left, len(right)))


def _exact(hits: int, rows: int) -> tuple[float, float]:
    from scipy.stats import beta

    low = float(beta.ppf(0.025, hits, rows - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, rows - hits)) if hits < rows else 1.0
    return low, high


def _log(rows: Tensor) -> Tensor:
    return rows.clamp(min=torch.finfo(torch.float32).tiny).log()


def _ascended(log_p: Tensor, targets: Tensor, weights: Tensor, measure: TunedMeasure) -> Tensor:
    topics = log_p.shape[1]
    offsets = torch.zeros(topics, dtype=torch.float64)
    for _ in range(SWEEPS):
        for topic in range(topics):
            others = log_p + offsets
            others[:, topic] = -torch.inf
            best, rival = others.max(-1)
            wins = log_p[:, topic, None] + STEPS > best[:, None]
            values = _measured(torch.where(wins, topic, rival[:, None]), targets, weights, topics, measure)
            # Of equally good offsets the one nearest to none: a topic without rows in a fold stays where it is.
            good = values >= values.max() - 1e-12
            offsets[topic] = STEPS[good][STEPS[good].abs().argmin()]
    return offsets


def _measured(decided: Tensor, targets: Tensor, weights: Tensor, topics: int, measure: TunedMeasure) -> Tensor:
    """The measure (K,) of K decisions (n, K)."""
    cells = targets[:, None] * topics + decided
    rows = torch.zeros(topics**2, decided.shape[1], dtype=torch.float64)
    rows = rows.scatter_add_(0, cells, weights[:, None].expand(cells.shape)).T.reshape(-1, topics, topics)
    values = counted.f1(rows) if measure == "macro_f1" else counted.recall(rows)
    return values.nanmean(-1)
