"""Simulates the audit without any copying, and the coverage of its interval of the prior pull.

python benchmarks/guarantees/audit_level.py [--repeats 100]

Training counts fall from 500 to 5 over the topics; a predictor finds 70% of each topic's rows, its errors go anywhere
or in part by the training shares. "judged at all": of repeats with test shares that are the training shares and a
predictor that copies nothing, those with a verdict. "coverage": of repeats with other test shares (the root of
the training shares; 2 to 10 rows a topic; all alike), those whose 95% interval holds the slope of the population.
"""

import sys

import numpy as np
import torch
from jsonargparse import auto_cli
from tqdm import tqdm

from unskew.balance import judged_prior_pull
from unskew.evaluation.audit_predictions import pull_interval

RECALL = 0.7


def main(repeats: int = 100) -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    chance = np.random.default_rng(0)
    print("| topics | test rows | judged at all |\n|---|---|---|")
    for topics in (12, 52, 100, 300):
        judged = 0
        for _ in tqdm(range(repeats), file=sys.stderr, leave=False):
            rows, train, _ = _drawn(chance, topics, "training", 0.0, 6 * topics)
            judged += not np.isnan(judged_prior_pull(rows, train.tolist()))
        print(f"| {topics} | {6 * topics} | {judged / repeats:.2f} |", flush=True)
    print("\n| topics | test shares | errors by training shares | slope | bias | width | coverage |")
    print("|---|---|---|---|---|---|---|")
    for topics, shares in ((12, "root"), (12, "alike"), (52, "alike"), (300, "root"), (300, "few")):
        for copies in (0.0, 0.6):
            _print_coverage(chance, topics, shares, copies, repeats // 2)


def _print_coverage(chance: np.random.Generator, topics: int, shares: str, copies: float, repeats: int) -> None:
    truths, middles, widths, covered = [], [], [], 0
    for _ in tqdm(range(repeats), file=sys.stderr, leave=False):
        rows, train, truth = _drawn(chance, topics, shares, copies, max(600, 6 * topics))
        interval = pull_interval(rows, train.tolist())
        if interval is not None:
            truths.append(truth)
            middles.append(sum(interval) / 2 - truth)
            widths.append(interval[1] - interval[0])
            covered += interval[0] <= truth <= interval[1]
    figures = (float(np.mean(x)) for x in (truths, middles, widths))
    cells = " | ".join(f"{figure:.3f}" for figure in figures)
    print(f"| {topics} | {shares} | {copies} | {cells} | {covered / len(truths):.2f} |", flush=True)


def _drawn(
    chance: np.random.Generator, topics: int, shares: str, copies: float, rows: int
) -> tuple[torch.Tensor, np.ndarray, float]:
    """Rows at [true, decided], training counts, and the slope of the population."""
    train = np.geomspace(500, 5, topics).round()
    rates = np.empty((topics, topics))
    for topic in range(topics):
        errors = (copies * train / train.sum() + (1 - copies) / topics) * chance.gamma(0.5, size=topics)
        errors[topic] = 0
        recall = np.clip(RECALL + 0.15 * chance.standard_normal(), 0.05, 0.98)
        rates[topic] = (1 - recall) * errors / errors.sum()
        rates[topic, topic] = recall
    of = {"training": train, "root": train**0.5, "few": chance.uniform(2, 10, topics), "alike": np.ones(topics)}
    wanted = of[shares] / of[shares].sum()
    true = chance.multinomial(rows, wanted)
    drawn = np.stack([chance.multinomial(n, own) for n, own in zip(true, rates, strict=True)])
    x, y = np.log(train / train.sum() / wanted), np.log(wanted @ rates / wanted)
    x = x - wanted @ x
    return torch.from_numpy(drawn).double(), train, float((wanted @ (x * y)) / (wanted @ x**2))


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
