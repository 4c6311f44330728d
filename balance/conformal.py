"""Class-conditional conformal sets: for a chosen error rate, a set of topics that covers each topic, rare ones too.

Knows probabilities and target indices; knows nothing of models or names of topics. crepes and MAPIE need
scikit-learn and do not pool rare classes; this room needs torch alone.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..common import UserError
from .calibration import checked_probabilities


@dataclass(frozen=True)
class ConformalSets:
    """Called with probabilities (n, C), it gives the sets as a boolean tensor (n, C).

    For a new row of topic c, P(c in its set) >= 1 - error_rate, if c has a threshold of its own and calibration
    rows and new rows of c are exchangeable (Vovk 2012: Mondrian, by topic). Pooled topics share one threshold: the
    promise then holds for a row drawn from the pool as it stood in calibration, not for each of its topics. The
    most probable topic is always in the set, so that no set is empty; that can only raise coverage.

    Attributes:
        error_rate: in (0, 1).
        thresholds: (C,) a topic is in the set if its probability is at least this; 0 takes it always.
        pooled: topics with too few calibration rows for a threshold of their own.
        always: those pooled topics that are in every set, because the pool has too few rows as well.
    """

    error_rate: float
    thresholds: tuple[float, ...]
    pooled: tuple[int, ...]
    always: tuple[int, ...]

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
        return cls(stored["error_rate"], tuple(stored["thresholds"]), tuple(stored["pooled"]), tuple(stored["always"]))


def rows_needed(error_rate: float) -> int:
    """Calibration rows that a topic needs for a threshold of its own: the least n with ceil((n+1)(1-a)) <= n."""
    return math.ceil(1 / error_rate - 1 - 1e-9)


def fit_conformal(probabilities: Tensor, targets: Tensor, error_rate: float = 0.1) -> ConformalSets:
    """Fit thresholds on probabilities (n, C) and targets (n,) of rows that neither trained nor calibrated the model.

    Score 1 - p(true topic), and for each topic the ceil((n_c + 1)(1 - error_rate))-th smallest score (Sadinle et
    al. 2019; Angelopoulos & Bates 2021, section 4.2 in arXiv:2107.07511v6). Topics under `rows_needed` rows are pooled.
    """
    probabilities, targets = checked_probabilities(probabilities), targets.detach().cpu().long()
    if not 0 < error_rate < 1:
        raise UserError(f"the error rate of conformal sets must lie in (0, 1), got {error_rate}")
    if probabilities.ndim != 2 or targets.shape != probabilities.shape[:1] or len(targets) == 0:
        raise UserError(f"conformal sets need rows: {tuple(probabilities.shape)} and {tuple(targets.shape)} given")
    own = probabilities.gather(-1, targets[:, None]).squeeze(-1)
    topics = probabilities.shape[-1]
    rows = torch.bincount(targets, minlength=topics)
    pooled = tuple((rows < rows_needed(error_rate)).nonzero().flatten().tolist())
    shared = _threshold(own[torch.isin(targets, torch.tensor(pooled, dtype=torch.long))], error_rate)
    thresholds = tuple(
        shared if topic in pooled else _threshold(own[targets == topic], error_rate) for topic in range(topics)
    )
    always = pooled if shared == 0 else ()
    return ConformalSets(error_rate, thresholds, pooled, always)


def _threshold(own: Tensor, error_rate: float) -> float:
    """The least probability that a set must reach down to; 0 where there are too few rows (n,) to say."""
    rank = math.ceil((len(own) + 1) * (1 - error_rate) - 1e-9)
    if rank > len(own):
        return 0.0
    return own.sort(descending=True).values[rank - 1].item()
