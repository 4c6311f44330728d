"""Intervals and p-values from seeds and test rows together, corrected for many arms.

Knows runs (plain values) and topics, but no model and no file. Seeds and test rows are crossed: every seed's model is
measured on the same rows. So a mean over seeds has two errors (Obuchowski & Rockette 1995 have the same design with
readers and cases). The variance from seeds is estimated from S values. The variance from rows, which all seeds share,
is the covariance between seeds in a bootstrap of the rows. A difference of two arms is paired in both.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import mean, stdev, variance
from typing import Any

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.stats import chi2, norm
from scipy.stats import t as student
from torch import Tensor

from ..balance import BINS
from ..balance import confusion as counted
from .data import TestRows

LEVEL = 0.95
RESAMPLES = 5000
MIN_SEEDS = 5  # with fewer, no difference is judged
POINTS = 20_000
CELLS_AT_ONCE = 2**22  # cells of resampled matrices, or rows drawn, at a time: 32 MB

Runs = Mapping[int, Mapping[str, Any]]  # runs by seed


@dataclass(frozen=True)
class Difference:
    """An arm's metric minus a reference arm's: mean over seeds, 95% interval, two-sided p.

    With fewer than `MIN_SEEDS` seeds p is None: such runs are described, not judged. With one seed the interval covers
    test rows only.
    """

    difference: float
    interval: tuple[float, float]
    p: float | None


class Resampler:
    """Resamples of the test rows, the same for every arm and seed.

    Args:
        test: The test rows.
        resamples: Number of resamples (B).
    """

    def __init__(self, test: TestRows, resamples: int = RESAMPLES) -> None:
        generator = torch.Generator().manual_seed(0)
        self._targets = torch.tensor(test.targets)
        self._counts = test.topics.counts
        self._rows = _weights(len(test.targets), resamples, generator)
        self._outputs = _weights(len(test.outputs), resamples, generator)

    def metrics(self, runs: Runs) -> dict[int, dict[str, Tensor]]:
        """The resampled values (B,) of every metric that depends on rows, by seed."""
        return {seed: self._of_run(run) for seed, run in runs.items()}

    def _of_run(self, run: Mapping[str, Any]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        if run["metrics"]["accuracy"] is not None:
            found |= self._of_decisions(torch.tensor(run["decisions"]))
        if run["nll"] is not None:
            found["nll"] = self._mean(self._rows, torch.tensor(run["nll"]))
            found["ece"] = self._calibration_error(torch.tensor(run["decisions"]), torch.tensor(run["confidence"]))
        return found | {name: self._mean(self._outputs, torch.tensor(rows)) for name, rows in run["rows"].items()}

    def _of_decisions(self, decisions: Tensor) -> dict[str, Tensor]:
        size = max(1, CELLS_AT_ONCE // len(self._counts) ** 2)
        parts = [self._of_resamples(some, decisions) for some in self._rows.split(size)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _of_resamples(self, weights: Tensor, decisions: Tensor) -> dict[str, Tensor]:
        """Metrics (R,) of R of the resamples, given as weights (R, n) of the rows."""
        topics = len(self._counts)
        cells = self._targets * topics + decisions
        rows = torch.zeros(len(weights), topics * topics).index_add_(1, cells, weights).double()
        rows = rows.view(-1, topics, topics)
        recall = counted.recall(rows)
        bands = counted.band_means(recall, self._counts)
        return {
            "macro_f1": counted.f1(rows).nanmean(-1),
            "accuracy": counted.accuracy(rows),
            "balanced_accuracy": recall.nanmean(-1),
            "worst_topic_recall": recall.nan_to_num(nan=math.inf).amin(-1),
            "prior_pull": counted.prior_pull(rows, self._counts),
            "errors_to_frequent": counted.errors_to_frequent(rows, self._counts),
            "marginal_kl": counted.marginal_divergence(rows),
            **{f"recall_{name}": values for name, values in bands.items()},
        }

    def _calibration_error(self, decisions: Tensor, confidence: Tensor) -> Tensor:
        edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)[1:-1]
        bins = torch.nn.functional.one_hot(torch.bucketize(confidence.double(), edges), BINS)
        gaps = bins * ((decisions == self._targets).float() - confidence)[:, None]
        return (self._rows @ gaps.float()).abs().sum(-1).double() / len(decisions)

    @staticmethod
    def _mean(weights: Tensor, values: Tensor) -> Tensor:
        return (weights @ values.float()).double() / weights.shape[1]


def differences(
    arm: Runs, reference: Runs, own: Mapping[int, Mapping[str, Tensor]], its: Mapping[int, Mapping[str, Tensor]]
) -> dict[str, Difference]:
    """The arm minus the reference, in every metric and over all seeds that both have.

    Args:
        arm: Runs of the arm by seed.
        reference: Runs of the reference arm by seed.
        own: `Resampler.metrics` of the arm.
        its: `Resampler.metrics` of the reference arm.
    """
    seeds = [seed for seed in reference if seed in arm]
    found = {}
    for name in set.intersection(*(set(own[seed]) & set(its[seed]) for seed in seeds)) if seeds else ():
        pairs = [(arm[seed]["metrics"][name], reference[seed]["metrics"][name]) for seed in seeds]
        if any(value is None for pair in pairs for value in pair):
            continue
        values = [a - b for a, b in pairs]
        drawn = torch.stack([own[seed][name] - its[seed][name] for seed in seeds])
        p = two_sided(values, drawn) if len(seeds) >= MIN_SEEDS else None
        found[name] = Difference(mean(values), interval_of(values, drawn), p)
    return found


def interval_of(values: Sequence[float], drawn: Tensor) -> tuple[float, float]:
    """95% interval of the mean over seeds of values (S,), with their bootstrap over rows `drawn` (S, B).

    One seed: percentiles of the bootstrap, without the error from seeds. More seeds: see `two_sided`.
    """
    drawn = drawn[:, ~drawn.isnan().any(0)]
    if len(values) == 1:
        edges = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=drawn.dtype)
        low, high = torch.quantile(drawn[0], edges).tolist()
        return low, high
    deviations = _deviations(values, drawn)
    largest = 10 * float(deviations.max())
    half: Any = 0.0 if largest == 0 else brentq(lambda x: _tail(x, deviations) - (1 - LEVEL), 0.0, largest)
    return mean(values) - half, mean(values) + half


def two_sided(values: Sequence[float], drawn: Tensor) -> float:
    """Two-sided p of a mean over seeds of values (S,) against 0, with their bootstrap over rows `drawn` (S, B).

    The mean is normal around its expectation with the variance v + r. r, from the rows, is known well from thousands of
    resamples. v, from the seeds, is estimated from only S values: s^2 / S is distributed as v chi2 / (S - 1). So p is
    the normal tail averaged over that chi2: the Behrens-Fisher solution with one known variance. It is the t test over
    seeds if rows do not matter, the z test over rows if seeds do not, and conservative in between. The Satterthwaite
    approximation is not conservative at three to five seeds, least of all in the far tails that a correction for many
    arms needs (`benchmarks/results/statistics.md`).
    """
    center, deviations = abs(mean(values)), _deviations(values, drawn[:, ~drawn.isnan().any(0)])
    return 1.0 if center == 0 else _tail(center, deviations)


def seed_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95% t interval of a mean over seeds, for figures that do not depend on rows; None for fewer than two."""
    if len(values) < 2:
        return None
    half = float(student.ppf((1 + LEVEL) / 2, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Corrected p by name: at 5%, the chance of any false finding among them is at most 5% (Holm 1979)."""
    corrected, largest = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, p * (len(p_values) - rank)))
        corrected[name] = largest
    return corrected


def _deviations(values: Sequence[float], drawn: Tensor) -> np.ndarray:
    """Equally likely standard deviations (POINTS,) of the mean over S > 1 seeds."""
    seeds = len(values)
    plausible = variance(values) / seeds * (seeds - 1) / _quantiles(seeds - 1)
    return np.sqrt(plausible + shared_row_variance(drawn))


def shared_row_variance(drawn: Tensor) -> float:
    """The variance that all seeds share: the mean covariance between seeds of values (S, B), at least 0.

    The variance that rows add to each seed separately is already part of the variance between seeds.
    """
    seeds = len(drawn)
    total, single = drawn.sum(0).var().item(), drawn.var(1).sum().item()
    return max(0.0, (total - single) / (seeds * (seeds - 1)))


def _tail(distance: float, deviations: np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        return float(2 * norm.sf(distance / deviations).mean())


@cache
def _quantiles(freedom: int) -> np.ndarray:
    """Equally likely values (POINTS,) of chi2."""
    return chi2.ppf((np.arange(POINTS) + 0.5) / POINTS, freedom)


def _weights(rows: int, resamples: int, generator: torch.Generator) -> Tensor:
    """How often each row occurs in each resample: (B, n) float32."""
    weights = torch.zeros(resamples, rows)
    for some in weights.split(max(1, CELLS_AT_ONCE // max(1, rows))):  # the drawn rows take twice the weights' memory
        drawn = torch.randint(max(1, rows), some.shape, generator=generator)
        some.scatter_add_(1, drawn, torch.ones(1).expand(drawn.shape))
    return weights
