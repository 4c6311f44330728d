"""Conformal sets: sets of topics that contain the true topic at a chosen error rate, under a stated promise.

Knows probabilities and topic indices; knows nothing of models or names of topics. crepes and MAPIE need scikit-learn
and do not pool or cluster rare classes; this room needs only torch.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from ..common import UserError
from .calibration import checked_probabilities
from .settings import ConformalKind


@dataclass(frozen=True)
class ConformalSets:
    """Fitted thresholds. Called with probabilities (n, C), they give the sets as a boolean tensor (n, C).

    The most probable topic is always in the set, so no set is empty; this can only raise coverage. Every promise
    assumes that calibration rows and new rows of a topic are exchangeable. `promise` states it in words.

    - "per_topic": for a new row of topic c, P(c in its set) >= 1 - error_rate, for each topic (Vovk 2012: Mondrian, by
      topic). A topic with fewer than `rows_needed` calibration rows is in every set: otherwise nothing could be
      promised for it.
    - "clustered": the same for a row drawn from each cluster of topics with similar score distributions. For a single
      topic the promise is as good as the similarity (Ding et al. 2023, arXiv:2306.09335, proposition 2). Topics with
      too few rows to be clustered share a threshold from all rows, which promises nothing for a single one of them.
    - "pooled": topics with `rows_needed` rows each have the promise. The others share one threshold: their promise is
      for a row drawn from the pool in its calibration shares, not for each topic in it.

    Attributes:
        error_rate: Error rate, in (0, 1).
        thresholds: Smallest probability (C,) at which each topic is in the set; at 0 it always is.
        pooled: Topics without a promise of their own.
        always: Topics that are in every set because they have too few rows.
        kind: Kind of promise.
    """

    error_rate: float
    thresholds: tuple[float, ...]
    pooled: tuple[int, ...]
    always: tuple[int, ...]
    kind: ConformalKind = "pooled"

    @property
    def promise(self) -> str:
        """The promise of these sets, in one sentence."""
        own = len(self.thresholds) - len(self.pooled)
        share = f"at least {1 - self.error_rate:.0%} of its rows"
        if self.kind == "per_topic":
            return f"each topic is in the sets of {share}; {len(self.always)} with too few rows are in every set"
        if self.kind == "clustered":
            return f"each of {own} topics is in the sets of {share}, as far as it resembles its cluster"
        return (
            f"each of {own} topics is in the sets of {share}; the other {len(self.pooled)} reach this only on "
            "average, so some of them may be in fewer sets"
        )

    def __call__(self, probabilities: Tensor) -> Tensor:
        """The sets (n, C)."""
        thresholds = torch.tensor(self.thresholds, dtype=torch.float64)
        if probabilities.shape[-1] != len(thresholds):
            raise ValueError(f"probabilities of {probabilities.shape[-1]} topics for {len(thresholds)} thresholds")
        rows = checked_probabilities(probabilities)
        sets = rows >= thresholds
        return sets.scatter(-1, rows.argmax(-1, keepdim=True), True)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "ConformalSets":
        """The inverse of `to_dict`."""
        thresholds, pooled, always = (tuple(stored[name]) for name in ("thresholds", "pooled", "always"))
        return cls(stored["error_rate"], thresholds, pooled, always, stored.get("kind", "pooled"))


def rows_needed(error_rate: float) -> int:
    """Calibration rows that a topic needs for its own threshold: the smallest n with ceil((n+1)(1-a)) <= n."""
    return math.ceil(1 / error_rate - 1 - 1e-9)


def fit_conformal(
    probabilities: Tensor, labels: Tensor, error_rate: float = 0.1, kind: ConformalKind = "pooled", seed: int = 0
) -> ConformalSets:
    """Fit thresholds on probabilities (n, C) and labels (n,) of rows that neither trained nor calibrated the model.

    The score of a row is 1 - p(true topic). For a topic, cluster or pool of m rows, the threshold is the ceil((m + 1)(1
    - error_rate))-th smallest score (Sadinle et al. 2019; Angelopoulos & Bates 2021, section 4.2 in
    arXiv:2107.07511v6).

    Args:
        probabilities: Probabilities of the rows.
        labels: Topics of the rows.
        error_rate: Error rate, in (0, 1).
        kind: Kind of promise, see `ConformalSets`.
        seed: Random seed for "clustered", which finds clusters on some of the rows and thresholds on the rest.

    Raises:
        UserError: If there are no rows, they are not probabilities, or the rate or kind is not valid.
    """
    probabilities, labels = checked_probabilities(probabilities), labels.detach().cpu().long()
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or len(labels) == 0:
        raise UserError(f"conformal sets need rows: {tuple(probabilities.shape)} and {tuple(labels.shape)} given")
    own = probabilities.gather(-1, labels[:, None]).squeeze(-1)
    return conformal_of_scores(own, labels, probabilities.shape[-1], error_rate, kind, seed)


def conformal_of_scores(
    own: Tensor, labels: Tensor, topics: int, error_rate: float, kind: ConformalKind, seed: int = 0
) -> ConformalSets:
    """Like `fit_conformal`, from only the probabilities (n,) of the true topics."""
    if not 0 < error_rate < 1:
        raise UserError(f"the error rate of conformal sets must be in (0, 1), got {error_rate}")
    rare = torch.bincount(labels, minlength=topics) < rows_needed(error_rate)
    if kind == "per_topic":
        groups = torch.where(rare, -1, torch.arange(topics))
        thresholds = _by_group(own, labels, groups, error_rate, rest=0.0)
        pooled: list[int] = []
    elif kind == "clustered":
        clusters, rest = _clusters(own, labels, topics, error_rate, seed)
        everything = _threshold(own[rest], error_rate)
        thresholds = _by_group(own[rest], labels[rest], clusters, error_rate, rest=everything)
        pooled = (clusters < 0).nonzero().flatten().tolist()
    elif kind == "pooled":
        groups = torch.where(rare, topics, torch.arange(topics))
        thresholds = _by_group(own, labels, groups, error_rate, rest=0.0)
        pooled = rare.nonzero().flatten().tolist()
    else:
        raise UserError(f"unknown kind of conformal sets {kind!r}; give one of {', '.join(get_args(ConformalKind))}")
    always = tuple(topic for topic, threshold in enumerate(thresholds) if threshold == 0)
    return ConformalSets(error_rate, tuple(thresholds), tuple(pooled), always, kind)


def _by_group(own: Tensor, labels: Tensor, groups: Tensor, error_rate: float, rest: float) -> list[float]:
    """The threshold of each topic (C,): that of its group's rows, or `rest` in group -1."""
    of_group = {g: _threshold(own[groups[labels] == g], error_rate) for g in groups.unique().tolist() if g >= 0}
    return [of_group.get(group, rest) for group in groups.tolist()]


def _clusters(own: Tensor, labels: Tensor, topics: int, error_rate: float, seed: int) -> tuple[Tensor, Tensor]:
    """The cluster (C,) of each topic, -1 for none, and a mask (n,) of the rows left for the thresholds.

    Ding et al. 2023, section 2.2 and appendix B.1: a share of the rows describes each topic by quantiles of its scores.
    k-means, weighted by the square root of the rows, clusters these quantiles.
    """
    rows = torch.bincount(labels, minlength=topics)
    enough = rows >= rows_needed(error_rate)
    least = int(rows[enough].min()) if enough.any() else 0
    share = int(enough.sum()) / (75 + int(enough.sum()))
    number = max(1, int(share * least / 2))
    order = torch.randperm(len(own), generator=torch.Generator().manual_seed(seed))
    describing = torch.zeros(len(own), dtype=torch.bool)
    for topic in enough.nonzero().flatten().tolist():
        mine = order[labels[order] == topic]
        describing[mine[: max(1, round(share * len(mine)))]] = number > 1
    clusters = torch.where(enough, 0, -1)
    if number > 1:
        levels = torch.tensor([0.5, 0.6, 0.7, 0.8, 0.9, 1 - error_rate], dtype=torch.float64)
        found = enough.nonzero().flatten()
        points = torch.stack([own[describing & (labels == topic)].quantile(1 - levels) for topic in found.tolist()])
        clusters[found] = _k_means(points, rows[found].double().sqrt(), number)
    return clusters, ~describing


def _k_means(points: Tensor, weights: Tensor, number: int) -> Tensor:
    """The cluster (n,) of each point (n, d) by Lloyd's algorithm, which starts from points far apart."""
    chosen = [int(weights.argmax())]
    while len(chosen) < min(number, len(points)):
        chosen.append(int(torch.cdist(points, points[chosen]).amin(-1).argmax()))
    centres = points[chosen]
    nearest = torch.cdist(points, centres).argmin(-1)
    for _ in range(100):
        member = torch.nn.functional.one_hot(nearest, len(centres)).double() * weights[:, None]
        centres = torch.where(
            member.sum(0)[:, None] > 0, member.T @ points / member.sum(0).clamp(min=1e-12)[:, None], centres
        )
        moved = torch.cdist(points, centres).argmin(-1)
        if torch.equal(moved, nearest):
            break
        nearest = moved
    return nearest


def _threshold(own: Tensor, error_rate: float) -> float:
    """The smallest probability that is still in the set; 0 if there are too few rows (n,) to tell."""
    rank = math.ceil((len(own) + 1) * (1 - error_rate) - 1e-9)
    if rank > len(own):
        return 0.0
    return own.sort(descending=True).values[rank - 1].item()
