"""Simulates level and power of the ablation's p-values, by number of seeds.

python benchmarks/guarantees/ablation_level.py [--repeats 200]

Ten arms and a reference decide 240 test rows of 12 topics. An arm's skill differs from seed to seed, so that macro-F1
has a standard deviation of about 0.02, 0.04 or 0.08 between seeds; rows differ in difficulty, the same for all arms.
"Level": nothing differs but by chance, p < 0.05 counted over all arms. "Familywise": repeats with any corrected p <
0.05. "Power": one arm is better by about 0.10 macro-F1. "t over seeds": the paired t test, which ignores the rows. With
fewer than five seeds the ablation gives no p; the table shows the result of its formula.
"""

import sys
from collections.abc import Sequence

import numpy as np
import torch
from jsonargparse import auto_cli
from scipy.stats import norm, ttest_1samp
from tqdm import tqdm

from unskew.ablation.statistics import holm, interval_of, two_sided
from unskew.balance import confusion as counted

TOPICS, ROWS, ARMS, RESAMPLES = 12, 240, 10, 200
SKILL = 0.85  # of all arms, on the normal scale: 0.75 or so of the rows are decided rightly
NOISE = {0.02: 0.03, 0.04: 0.15, 0.08: 0.36}  # of macro-F1 and, found by trial, of the skill
BETTER = 0.37  # of the skill: 0.10 of macro-F1


def main(repeats: int = 200, seeds: Sequence[int] = (1, 3, 5, 10)) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print("| seed noise | seeds | level | familywise | power | power, corrected | level of t over seeds |")
    print("|---|---|---|---|---|---|---|")
    for noise, skill_noise in NOISE.items():
        for count in seeds:
            cells = _measured(count, skill_noise, repeats)
            print(
                f"| {noise} | {count} | " + " | ".join("" if x != x else f"{x:.3f}" for x in cells) + " |", flush=True
            )


def _measured(seeds: int, skill_noise: float, repeats: int) -> list[float]:
    chance = np.random.default_rng(seeds)
    null, plain, family, power, corrected = [], [], [], [], []
    for _ in tqdm(range(repeats), file=sys.stderr, leave=False):
        for better in (0.0, BETTER):
            values, drawn = _runs(seeds, skill_noise, better, chance)
            p = {str(arm): _p(values[arm] - values[0], drawn[arm] - drawn[0]) for arm in range(1, ARMS + 1)}
            if better:
                power.append(p["1"] < 0.05)
                corrected.append(holm(p)["1"] < 0.05)
            else:
                null += [one < 0.05 for one in p.values()]
                family.append(min(holm(p).values()) < 0.05)
                if seeds > 1:
                    plain += [ttest_1samp(values[arm] - values[0], 0).pvalue < 0.05 for arm in range(1, ARMS + 1)]  # pyright: ignore[reportAttributeAccessIssue]
    return [float(np.mean(x)) if x else float("nan") for x in (null, family, power, corrected, plain)]


def _p(values: np.ndarray, drawn: torch.Tensor) -> float:
    """By the ablation's formula; of one seed by the bootstrap over rows, as it was before."""
    if len(values) > 1:
        return two_sided(values.tolist(), drawn)
    low, high = interval_of(values.tolist(), drawn)
    return float(2 * norm.sf(abs(values[0]) / max((high - low) / 3.92, 1e-9)))


def _runs(
    seeds: int, skill_noise: float, better: float, chance: np.random.Generator
) -> tuple[np.ndarray, torch.Tensor]:
    """Macro-F1 (arms, seeds) and its bootstrap over rows (arms, seeds, B)."""
    labels = np.arange(ROWS) % TOPICS
    difficulty = 0.5 * chance.standard_normal(ROWS)
    weights = torch.from_numpy(chance.multinomial(ROWS, np.full(ROWS, 1 / ROWS), size=RESAMPLES)).float()
    values, drawn = np.zeros((ARMS + 1, seeds)), torch.zeros(ARMS + 1, seeds, RESAMPLES, dtype=torch.float64)
    for arm in range(ARMS + 1):
        own = 0.3 * chance.standard_normal(ROWS)  # rows that this kind of model finds hard
        for seed in range(seeds):
            skill = SKILL + skill_noise * chance.standard_normal() + better * (arm == 1)
            right = chance.standard_normal(ROWS) < skill + difficulty + own
            decided = np.where(right, labels, (labels + chance.integers(1, TOPICS, ROWS)) % TOPICS)
            cells = torch.nn.functional.one_hot(torch.from_numpy(labels * TOPICS + decided), TOPICS**2).float()
            rows = torch.cat([cells.sum(0, keepdim=True), weights @ cells]).view(-1, TOPICS, TOPICS)
            f1 = counted.f1(rows).nanmean(-1).double()
            values[arm, seed], drawn[arm, seed] = f1[0].item(), f1[1:]
    return values, drawn


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
