"""From probabilities to decisions: expected cost, offsets tuned for a metric, and rows that stay undecided.

Knows probabilities and topic indices; knows nothing of models or names of topics. scikit-learn's
TunedThresholdClassifierCV is for two classes; this is for any number.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..common import UserError
from .calibration import FOLDS, checked_probabilities, checked_weights, stratified_folds
from .settings import TunedMetric

UNDECIDED = -1
STEPS = torch.linspace(-4, 4, 65, dtype=torch.float64)  # nats: the offsets to try
SWEEPS = 3


@dataclass(frozen=True)
class Decision:
    """Called with probabilities (n, C), it gives topic indices (n,), or `UNDECIDED`, -1, where none is sure enough.

    Attributes:
        offsets: Offsets (C,) in nats, added to the log-probabilities before the largest is taken; empty for none.
        costs: Costs as (true topic, decided topic, cost); another wrong topic costs 1, the right one 0. Empty decides
            for the most probable topic.
        least: Smallest probability (C,) at which each topic is decided for; empty decides every row.
    """

    offsets: tuple[float, ...] = ()
    costs: tuple[tuple[int, int, float], ...] = ()
    least: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.offsets and self.costs:
            raise UserError("a decision cannot have both tuned offsets and costs; leave one out")
        if any(len(given) != 3 for given in self.costs):
            raise UserError("a cost is not (true topic, decided topic, cost); give two indices and a number")
        sizes = {len(part) for part in (self.offsets, self.least) if part}
        if len(sizes) > 1:
            raise UserError(f"a decision over different numbers of topics: {sorted(sizes)}")
        if not torch.tensor([*self.offsets, *self.least, *(cost for _, _, cost in self.costs)]).isfinite().all():
            raise UserError("offsets, costs and least probabilities must be numbers")

    def __call__(self, probabilities: Tensor) -> Tensor:
        """Topic indices (n,)."""
        decided, _, sure = self.parts(probabilities)
        return torch.where(sure, decided, UNDECIDED)

    def parts(self, probabilities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each row's best topic (n,), that topic's probability (n,), and whether it is high enough to decide (n,)."""
        rows = checked_probabilities(probabilities)
        if self.costs:
            decided = self._expected_costs(rows).argmin(-1)
        elif self.offsets:
            decided = (_log(rows) + torch.tensor(self.offsets, dtype=torch.float64)).argmax(-1)
        else:
            decided = rows.argmax(-1)
        confidence = rows.gather(-1, decided[:, None])[:, 0]
        if not self.least:
            return decided, confidence, torch.ones_like(decided, dtype=torch.bool)
        return decided, confidence, confidence >= torch.tensor(self.least, dtype=torch.float64)[decided]

    def _expected_costs(self, rows: Tensor) -> Tensor:
        """The expected cost (n, C) of each decision; few columns of a cost matrix differ from what is usual."""
        true, columns, place, cost = self._given_costs
        costs = (torch.arange(rows.shape[-1])[:, None] != columns).double()
        costs[true, place] = cost
        expected = rows.sum(-1, keepdim=True) - rows
        expected[:, columns] = rows @ costs
        return expected

    @cached_property
    def _given_costs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """True topics (K,), the decided ones without repeats, the place (K,) of each in these, and costs (K,)."""
        true, decided, cost = zip(*self.costs, strict=True)
        columns, place = torch.tensor(decided).unique(return_inverse=True)
        return torch.tensor(true), columns, place, torch.tensor(cost, dtype=torch.float64)


@dataclass(frozen=True)
class TunedOffsets:
    """The result of `tune_offsets`.

    Attributes:
        offsets: Offsets (C,) in nats; all 0 if they did not help.
        before: Metric without offsets.
        after: Metric with offsets tuned on the other folds.
        kept: Whether the offsets are in force.
    """

    offsets: tuple[float, ...]
    before: float
    after: float
    kept: bool


def tune_offsets(
    probabilities: Tensor, labels: Tensor, metric: TunedMetric, weights: Tensor | None = None, seed: int = 0
) -> TunedOffsets:
    """Offsets (C,) of log-probabilities for the best macro-F1 or balanced accuracy, cross-fitted.

    Coordinate ascent over the topics, one offset at a time. Each row is decided with offsets tuned on the other four
    folds. If that beats no offsets, the mean of the folds' offsets is kept.

    Args:
        probabilities: Probabilities of held-out rows (n, C).
        labels: Topics (n,) of the rows.
        metric: Metric to maximise.
        weights: Weights of the rows (n,) that give them the shares of the job; macro-F1 depends on the shares.
        seed: Random seed of the folds.

    Raises:
        UserError: If there are fewer than five rows, or they are not probabilities.
    """
    rows, labels = checked_probabilities(probabilities), labels.detach().cpu().long()
    own = checked_weights(weights, len(labels))
    if rows.ndim != 2 or len(rows) != len(labels) or len(rows) < FOLDS:
        raise UserError(f"tuning offsets needs rows: {tuple(rows.shape)} probabilities, {tuple(labels.shape)} topics")
    log_p, fold = _log(rows), stratified_folds(labels, FOLDS, seed)
    decided, found = torch.empty_like(labels), []
    for number in range(FOLDS):
        rest, held_out = fold != number, fold == number
        offsets = _ascended(log_p[rest], labels[rest], own[rest], metric)
        decided[held_out] = (log_p[held_out] + offsets).argmax(-1)
        found.append(offsets)
    before, after = (_measured(choice, labels, own, rows.shape[1], metric) for choice in (log_p.argmax(-1), decided))
    kept = bool(after > before)
    mean = torch.stack(found).mean(0)
    offsets = mean - mean.mean() if kept else torch.zeros_like(mean)
    return TunedOffsets(tuple(offsets.tolist()), before.item(), after.item(), kept)


def _log(rows: Tensor) -> Tensor:
    return rows.clamp(min=torch.finfo(torch.float32).tiny).log()


def _ascended(log_p: Tensor, labels: Tensor, weights: Tensor, metric: TunedMetric) -> Tensor:
    topics = log_p.shape[1]
    true = _summed(labels, weights, topics)
    offsets, scores = torch.zeros(topics, dtype=torch.float64), log_p.clone()
    values, indices = _best_two(scores)
    for _ in range(SWEEPS):
        before = offsets.clone()
        for topic in range(topics):
            other = (indices[:1] == topic).long()  # which of the two best is not this topic
            best, rival = values.gather(0, other)[0], indices.gather(0, other)[0]
            won_from = torch.searchsorted(STEPS, best - log_p[:, topic], right=True)
            tried = _tried(topic, won_from, rival, labels, weights, true, metric)
            # Of equally good offsets, take the one nearest to 0: a topic without rows in a fold stays where it is.
            good = tried >= tried.max() - 1e-12
            offsets[topic] = STEPS[good][STEPS[good].abs().argmin()]
            scores[:, topic] = log_p[:, topic] + offsets[topic]
            # Other rows keep their two best: over many topics, nearly all.
            moved = (indices == topic).any(0) | (scores[:, topic] >= values[1])
            values[:, moved], indices[:, moved] = _best_two(scores[moved])
        if torch.equal(offsets, before):
            break
    return offsets


def _best_two(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The two largest values (2, n) of each row (n, C), with their topics (2, n)."""
    first = scores.max(-1)
    second = scores.scatter(-1, first.indices[:, None], -torch.inf).max(-1)
    return torch.stack([first.values, second.values]), torch.stack([first.indices, second.indices])


def _tried(
    topic: int, won_from: Tensor, rival: Tensor, labels: Tensor, weights: Tensor, true: Tensor, metric: TunedMetric
) -> Tensor:
    """The metric (S,) at each step of one topic's offset, which wins a row from its rival (n,) from a step (n,) on.

    One pass over the rows measures all steps.
    """
    topics, places = len(true), len(STEPS) + 1  # the last place: never won

    def left(values: Tensor) -> Tensor:
        """Sums (C, S) over the rows that each topic keeps; summed from the end, so that none left is exactly 0."""
        by_place = _summed(rival * places + won_from, values, topics * places).view(topics, places)
        return by_place.flip(1).cumsum(1).flip(1)[:, 1:]

    def won(values: Tensor) -> Tensor:
        return _summed(won_from, values, places).cumsum(0)[:-1]

    decided, right = left(weights), left(weights * (labels == rival))
    decided[topic], right[topic] = won(weights), won(weights * (labels == topic))
    return _metric(right, decided, true[:, None], metric)


def _measured(decided: Tensor, labels: Tensor, weights: Tensor, topics: int, metric: TunedMetric) -> Tensor:
    """The metric of decisions (n,), as in `confusion` but without a C x C table."""
    right = _summed(labels, weights * (decided == labels), topics)
    return _metric(right, _summed(decided, weights, topics), _summed(labels, weights, topics), metric)


def _metric(right: Tensor, decided: Tensor, true: Tensor, metric: TunedMetric) -> Tensor:
    if metric == "balanced_accuracy":
        return (right / true).nanmean(0)
    return (2 * right / (decided + true)).nanmean(0)


def _summed(cells: Tensor, values: Tensor, size: int) -> Tensor:
    return torch.zeros(size, dtype=torch.float64).index_add_(0, cells, values)
