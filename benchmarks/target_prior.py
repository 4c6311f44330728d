"""Compares the regret of target priors when a job's topic shares are unknown.

    python benchmarks/real.py --data FOLDER --encoder BASE --output runs/real
    python benchmarks/target_prior.py --data FOLDER --runs runs/real

Uses one arm's scores from the first command. Test rows are resampled with three kinds of shares: the training set's,
equal, and reversed. Regret is the loss of a prior, in accuracy and in macro-F1, against the best prior on the same
rows. Priors: uniform, train, its square root, and expectation maximisation shrunk by pseudo-rows (some for each topic)
toward a power of the training shares. For each set, the prior that is best on the *other* sets is shown.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from real import SETS, read, slug
from sklearn.metrics import f1_score
from torch import Tensor

from unskew.balance import shrunk_em_prior

POWERS, PSEUDO_ROWS = (0.0, 0.125, 0.25, 0.5), (5, 10, 20, 40)
OURS = "power 0.125, 20 rows"
DRAWS = 5
Case = tuple[str, str]


def priors(logits: Tensor, trained: Tensor) -> dict[str, Tensor]:
    """Every prior tried, for logits (n, C) that favour no topic."""
    uniform, root = torch.full_like(trained, 1 / len(trained)), trained.sqrt()
    found = {"uniform": uniform, "train": trained, "square root of train": root / root.sum()}
    for power in POWERS:
        for rows in PSEUDO_ROWS:
            adapted = shrunk_em_prior(logits, trained**power, rows * len(trained))
            found[f"power {power:g}, {rows} rows"] = adapted
    return found


def drawn(labels: Tensor, shares: Tensor, rows: int, generator: np.random.Generator) -> Tensor:
    """Indices (rows,) of labelled rows whose topics come in some shares."""
    counts = torch.bincount(labels, minlength=len(shares))
    chances = torch.where(counts > 0, shares / counts.clamp(min=1), 0.0)[labels].numpy()
    return torch.from_numpy(generator.choice(len(labels), size=rows, p=chances / chances.sum()))


def scores_of(data: Path, runs: Path, arm: str, rows: int, sets: list[str]) -> dict[Case, dict[str, np.ndarray]]:
    """Mean accuracy and macro-F1 by case and prior."""
    found: dict[Case, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for name in sets:
        files = sorted((runs / "work").glob(f"{name}~1~*~{slug(arm)}.npz"))
        if not files:
            continue
        one = read(data / name, 1, 0)
        labels = torch.tensor(one.topics.encode(str(record.topic) for record in one.test))
        trained = torch.tensor(one.topics.prior).double()
        shares = {"natural": trained, "alike": torch.ones_like(trained), "reversed": 1 / trained}
        for file in files:
            logits = torch.from_numpy(np.load(file)["scores"]).double().log_softmax(-1)
            for how, wanted in shares.items():
                for draw in range(DRAWS):
                    picked = drawn(labels, wanted / wanted.sum(), rows or len(labels), np.random.default_rng(draw))
                    targets = labels[picked].numpy()
                    for prior, q in priors(logits[picked], trained).items():
                        said = (logits[picked] + q.log()).argmax(-1).numpy()
                        f1 = f1_score(targets, said, labels=np.unique(targets), average="macro", zero_division=0)  # pyright: ignore[reportArgumentType]
                        found[name, how][prior].append((float((said == targets).mean()), float(f1)))
    return {case: {prior: np.mean(pairs, 0) for prior, pairs in one.items()} for case, one in found.items()}


def main() -> None:
    """Print regret by prior, then set by set with the set left out of the choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True, help="output folder of benchmarks/real.py")
    parser.add_argument("--arm", default="unskew, default")
    parser.add_argument("--sets", default=",".join(SETS), help="those without runs are passed over")
    parser.add_argument("--rows", type=int, default=0, help="of a job; as many as the test set has unless given")
    chosen = parser.parse_args()
    found = scores_of(chosen.data, chosen.runs, chosen.arm, chosen.rows, chosen.sets.split(","))
    best = {case: np.max(list(one.values()), 0) for case, one in found.items()}
    ways = list(next(iter(found.values())))

    def regrets(way: str, cases: list[Case]) -> np.ndarray:
        return np.array([best[case] - found[case][way] for case in cases])

    def figures(way: str, cases: list[Case]) -> str:
        return " / ".join(f"{value:.3f}" for value in regrets(way, cases).mean(0))

    print("| prior | mean regret | worst |\n|---|---|---|")
    for way in sorted(ways, key=lambda way: regrets(way, list(found)).mean()):
        worst = " / ".join(f"{value:.3f}" for value in regrets(way, list(found)).max(0))
        print(f"| {way} | {figures(way, list(found))} | {worst} |")
    print("\n| set left out | best on the others | its regret here | ours | uniform | train |\n" + "|---" * 6 + "|")
    for name in dict.fromkeys(name for name, _ in found):
        own = [case for case in found if case[0] == name]
        others = [case for case in found if case[0] != name]
        way = min(ways, key=lambda way: regrets(way, others).mean()) if others else OURS
        row = [figures(known, own) for known in (way, OURS, "uniform", "train")]
        print(f"| {name} | {way} | " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
