"""How sure the figures are: intervals over seeds, paired bootstrap of differences, correction for many arms.

Knows runs (plain values) and topics; no model and no file. A resample draws test rows, and with several seeds also
seeds, with replacement, the same for every arm: so a difference is paired in both, and covers the luck of the
training as far as the seeds show it (two-level bootstrap: Efron & Tibshirani 1993, chapter 8; Davison & Hinkley 1997,
section 3.8).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import torch
from scipy.stats import t as student
from torch import Tensor

from ..balance import BINS
from ..balance import confusion as counted
from .data import TestRows

LEVEL = 0.95
RESAMPLES = 5000

Runs = Mapping[int, Mapping[str, Any]]  # by seed


@dataclass(frozen=True)
class Difference:
    """An arm's measure less a reference arm's: mean over seeds, 95% interval, two-sided p."""

    difference: float
    interval: tuple[float, float]
    p: float


class Resampler:
    """Resamples of the test rows and seeds, the same ones for every arm.

    Args:
        test: The rows.
        seeds: Of the ablation.
        resamples: How many (B).
    """

    def __init__(self, test: TestRows, seeds: Sequence[int], resamples: int = RESAMPLES) -> None:
        generator = torch.Generator().manual_seed(0)
        self._targets = torch.tensor(test.targets)
        self._counts = test.topics.counts
        self._rows = _weights(len(test.records), resamples, generator)
        self._outputs = _weights(len(test.outputs), resamples, generator)
        self._seeds = list(seeds)
        self._drawn = torch.rand(resamples, len(self._seeds), generator=generator)

    def measures(self, runs: Runs) -> dict[int, dict[str, Tensor]]:
        """By seed: the resampled values (B,) of every measure that rows decide."""
        return {seed: self._of_run(run) for seed, run in runs.items()}

    def combined(self, values: Mapping[int, Tensor]) -> Tensor:
        """Means (B,) over seeds drawn with replacement of values (B,) by seed."""
        stacked = torch.stack([values[seed] for seed in self._seeds if seed in values])
        chosen = (self._drawn[:, : len(stacked)] * len(stacked)).long().T
        return stacked.gather(0, chosen).mean(0)

    def _of_run(self, run: Mapping[str, Any]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        if run["measures"]["accuracy"] is not None:
            found |= self._of_decisions(torch.tensor(run["decisions"]))
        if run["nll"] is not None:
            found["nll"] = self._mean(self._rows, torch.tensor(run["nll"]))
            found["ece"] = self._calibration_error(torch.tensor(run["decisions"]), torch.tensor(run["confidence"]))
        return found | {name: self._mean(self._outputs, torch.tensor(rows)) for name, rows in run["rows"].items()}

    def _of_decisions(self, decisions: Tensor) -> dict[str, Tensor]:
        topics = len(self._counts)
        cells = torch.nn.functional.one_hot(self._targets * topics + decisions, topics * topics).float()
        rows = (self._rows @ cells).double().view(-1, topics, topics)
        recall = counted.recall(rows)
        bands = counted.band_means(recall, self._counts)
        return {
            "macro_f1": counted.f1(rows).nanmean(-1),
            "accuracy": counted.accuracy(rows),
            "balanced_accuracy": recall.nanmean(-1),
            "worst_topic_recall": recall.nan_to_num(nan=math.inf).amin(-1),
            "prior_pull": counted.prior_pull(rows, self._counts),
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
    resampler: Resampler, arm: Runs, reference: Runs, own: Mapping[int, Any], its: Mapping[int, Any]
) -> dict[str, Difference]:
    """The arm less the reference, in every measure that both have, over the seeds that both have.

    Args:
        resampler: That made the resampled values.
        arm: Its runs by seed.
        reference: Those of the reference arm.
        own: `Resampler.measures` of the arm.
        its: Those of the reference arm.
    """
    seeds = [seed for seed in reference if seed in arm]
    found = {}
    for name in set.intersection(*(set(own[seed]) & set(its[seed]) for seed in seeds)) if seeds else ():
        pairs = [(arm[seed]["measures"][name], reference[seed]["measures"][name]) for seed in seeds]
        if any(value is None for pair in pairs for value in pair):
            continue
        drawn = resampler.combined({seed: own[seed][name] - its[seed][name] for seed in seeds})
        found[name] = Difference(mean(a - b for a, b in pairs), interval_of(drawn), two_sided(drawn))
    return found


def interval_of(drawn: Tensor) -> tuple[float, float]:
    """The percentiles of resampled values (B,) that hold 95% between them."""
    drawn = drawn[~drawn.isnan()]
    edges = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=drawn.dtype)
    low, high = torch.quantile(drawn, edges).tolist()
    return low, high


def two_sided(drawn: Tensor) -> float:
    """Twice the smaller share of resampled differences (B,) on one side of 0, never 0 itself (Davison & Hinkley)."""
    drawn = drawn[~drawn.isnan()]
    below, above = int((drawn <= 0).sum()), int((drawn >= 0).sum())
    return min(1.0, 2 * (min(below, above) + 1) / (len(drawn) + 1))


def seed_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95% t interval of a mean over seeds; None for fewer than two."""
    if len(values) < 2:
        return None
    half = float(student.ppf((1 + LEVEL) / 2, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Corrected p by name, such that 5% bounds the chance of any false finding among them (Holm 1979)."""
    corrected, largest = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, p * (len(p_values) - rank)))
        corrected[name] = largest
    return corrected


def _weights(rows: int, resamples: int, generator: torch.Generator) -> Tensor:
    """How often each row stands in each resample: (B, n) float32."""
    drawn = torch.randint(rows, (resamples, rows), generator=generator) if rows else torch.zeros(resamples, 0).long()
    return torch.zeros(resamples, rows).scatter_add_(1, drawn, torch.ones(1).expand(drawn.shape))
