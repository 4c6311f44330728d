"""Stage 1 on real sets: what a newcomer's first fit reaches, beside what takes a minute with scikit-learn.

    python benchmarks/real.py --data FOLDER --encoder BASE --output runs/real

FOLDER holds a folder for each set with train.jsonl, test.jsonl and, where there is one, noisy.jsonl, as
`unskew newsroom` writes them too; BASE is a pretrained encoder. Every run is a file of OUTPUT/runs, so that the same
command goes on where it stopped; the table and the picture are made from all the files there. A learning curve:
--shares 0.1,0.3,1. With --remeasure nothing is run: the figures of all runs are computed again from their scores.

Test rows without a text or a topic, and those of topics that no training row has, are left out; how many is printed,
and is in each run's file. No arm sees the topics of test rows, and only the adaptive prior sees their texts. But the
constants of our recipe were found with test figures of the first four sets in view, and one of them on test rows
(results/real.md).

The arms are in `real_arms.py`.
"""

import argparse
import json
import logging
import os
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from real_arms import ARMS, Rows, Trial, possible

from unskew.balance import Calibration, PosteriorCorrector, adapt_target, resolve_prior, topic_metrics
from unskew.common import write_text
from unskew.corpus import Columns, Record, Topics, load_usable, stratified_split

SETS = ("snips-lt", "hwu64-lt", "atis", "reuters-r52", "newsroom")
SHOWN = {
    "macro_f1": "macro-F1",
    "balanced_accuracy": "balanced accuracy",
    "worst_band": "recall of the worst band",
    "nll": "NLL",
    "ece": "calibration error",
    "prior_pull": "prior pull",
    "train_accuracy": "accuracy, training prior",
    "train_macro_f1": "macro-F1, training prior",
    "adaptive_accuracy": "accuracy, adaptive",
    "adaptive_macro_f1": "macro-F1, adaptive",
    "adaptive_balanced_accuracy": "balanced accuracy, adaptive",
    "adaptive_worst_band": "recall of the worst band, adaptive",
    "adaptive_nll": "NLL, adaptive",
    "adaptive_prior_pull": "prior pull, adaptive",
    "cpu_seconds": "CPU seconds",
}


def read(folder: Path, share: float, seed: int) -> Rows:
    """A set, or a share of its training rows, each topic in proportion and with a row at least."""
    files = {name: _usable(folder / f"{name}.jsonl") for name in ("train", "noisy", "test")}
    sets = {name: records for name, (records, _) in files.items()}
    train = sets["train"]
    if share < 1:
        train = [train[i] for i in stratified_split([str(r.topic) for r in train], share, seed)[1]]
    topics = Topics.from_labels(str(record.topic) for record in train)
    known = {name: [record for record in sets[name] if record.topic in topics] for name in ("noisy", "test")}
    unknown = len(sets["test"]) - len(known["test"])
    left_out = {"without a text or a topic": files["test"][1], "of topics that no training row has": unknown}
    return Rows(train, known["noisy"], known["test"], topics, {why: rows for why, rows in left_out.items() if rows})


def _usable(path: Path) -> tuple[list[Record], int]:
    """The rows of a file that have a text and a topic, and how many do not; none where there is no file."""
    if not path.exists():
        return [], 0
    records, bad = load_usable(path, Columns(), needs=("text", "topic"))
    known = [record for record in records if record.topic]
    return known, len(records) - len(known) + len(bad)


Figures = dict[str, float | None]
Found = dict[tuple[str, str, float], list[Figures]]  # figures of each seed by set, arm and share of rows
DRAWN = "adaptive_macro_f1"  # what a job gets by default
BANDS = ("recall_many", "recall_medium", "recall_few")


def cpu_time() -> float:
    """Seconds of CPU used by this process and those it waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def commit() -> str | None:
    """The commit of the code, with "-dirty" if files differ from it; None if this is no checkout."""
    asked = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or None


def run(trial: Trial, arm: str) -> dict[str, Any]:
    """Fit an arm and measure it: topics alike, under the training prior, and adapted to the test rows' texts."""
    begun, used = time.monotonic(), cpu_time()
    scores = ARMS[arm](trial)
    spent = {"seconds": time.monotonic() - begun, "cpu_seconds": cpu_time() - used}
    trial.folder.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(f"{trial.folder}.npz", scores=scores.values.float().numpy())
    known = {"max_tokens": trial.max_tokens, "left_out": trial.rows.left_out, "notes": scores.notes}
    return {**measured(scores.values, scores.probabilities, trial.rows), **spent, **known}


def measured(scores: torch.Tensor, probabilities: bool, rows: Rows) -> Figures:
    """Figures of scores (n, C) that favour no topic; margins of an SVM are no log-probabilities and know no prior."""
    labels = torch.tensor(rows.topics.encode(str(record.topic) for record in rows.test))
    uniform = resolve_prior("uniform", rows.topics)
    corrector = PosteriorCorrector(rows.topics, uniform, Calibration(), uniform)
    adapted = adapt_target(corrector, scores.float()).shares
    figures: Figures = {}
    for name, prior in {"": "uniform", "train_": "train", "adaptive_": adapted}.items():
        decisions = corrector.with_target_prior(prior if probabilities else "uniform")(scores.float())
        said = topic_metrics(decisions, labels, rows.topics.counts)
        figures |= {name + key: value for key, value in said.items()}
        figures[f"{name}worst_band"] = min(value for band in BANDS if (value := said.get(band)) is not None)
        figures |= {name + key: None for key in ("nll", "ece") if not probabilities}
    return figures


def remeasure(output: Path, data: Path) -> None:
    """Compute the figures of all runs again, from the scores that they stored."""
    for path in sorted((output / "runs").glob("*.json")):
        one, scores = json.loads(path.read_text("utf-8")), output / "work" / f"{path.stem}.npz"
        if not scores.exists():
            print(f"{path.name}: there is no {scores.name}, so its figures stay as they are")
            continue
        rows = read(data / one["set"], one["share"], one["seed"])
        values = torch.from_numpy(np.load(scores)["scores"])
        write_text(path, json.dumps({**one, **measured(values, one["nll"] is not None, rows)}))


def table(found: Found) -> str:
    """Markdown: one row an arm of a set, means over its seeds."""
    lines = [
        "| set | rows | arm | seeds | " + " | ".join(SHOWN.values()) + " |",
        "|---|---|---|---|" + "---|" * len(SHOWN),
    ]
    for (name, arm, share), runs in found.items():
        figures = []
        for key in SHOWN:
            values = [value for one in runs if (value := one.get(key)) is not None]
            figures.append(
                "" if not values else f"{mean(values):.0f}" if key == "cpu_seconds" else f"{mean(values):.3f}"
            )
        lines.append(f"| {name} | {share:.0%} | {arm} | {len(runs)} | " + " | ".join(figures) + " |")
    return "\n".join(lines) + "\n"


def draw(found: Found, path: Path) -> None:
    """Macro-F1 on every set: a bar for each arm at its mean, a dot a seed; below, how it grows with the rows."""
    from matplotlib.figure import Figure

    sets = [name for name in SETS if any(key[0] == name for key in found)]
    arms = [arm for arm in ARMS if any(key[1] == arm for key in found)]
    figure = Figure(figsize=(3.4 * len(sets) + 2, 6.4), layout="constrained")
    grid = figure.subplots(2, len(sets), squeeze=False, gridspec_kw={"height_ratios": [3, 2]})
    for place, name in enumerate(sets):
        _bars(grid[0][place], found, name, arms, labelled=place == 0)
        _curves(grid[1][place], found, name, arms)
    figure.savefig(path, dpi=100)


def _values(found: Found, name: str, arm: str, share: float) -> list[float]:
    return [float(one[DRAWN] or 0) for one in found.get((name, arm, share), [])]


def _bars(axes: Any, found: Found, name: str, arms: list[str], *, labelled: bool) -> None:
    for row, arm in enumerate(reversed(arms)):
        values = _values(found, name, arm, 1.0)
        if values:
            axes.barh(row, mean(values), color="#2563d4" if arm.startswith("unskew") else "#b9c2cd")
            axes.plot(values, [row] * len(values), "o", color="#1b2430", markersize=3)
    axes.set_yticks(range(len(arms)), list(reversed(arms)) if labelled else [])
    axes.set_ylim(-0.6, len(arms) - 0.4)
    axes.set_xlim(0.4, 1)
    axes.set_title(f"{name}: macro-F1", fontsize=10)


def _curves(axes: Any, found: Found, name: str, arms: list[str]) -> None:
    shares = sorted({share for known, _, share in found if known == name})
    if len(shares) < 2:
        axes.axis("off")
        return
    for arm in arms:
        points = [(share, mean(values)) for share in shares if (values := _values(found, name, arm, share))]
        if len(points) > 1:
            axes.plot(*zip(*points, strict=True), "o-", label=arm, markersize=3)
    axes.set_xscale("log")
    axes.set_xticks(shares, [f"{share:.0%}" for share in shares])
    axes.minorticks_off()
    axes.set_xlabel("of the training rows", fontsize=8)
    axes.legend(fontsize=6)


def slug(arm: str) -> str:
    """Its name in a file name."""
    return "-".join("".join(letter if letter.isalnum() else " " for letter in arm).lower().split())


def run_all(chosen: argparse.Namespace) -> None:
    """Run what has not been run."""
    arms = [arm for arm in ARMS if not chosen.arms or arm in chosen.arms.split(";")]
    code = commit()  # the code as it is loaded, whatever is committed while it runs
    sets = chosen.sets.split(",") if chosen.sets else [name for name in SETS if (chosen.data / name).is_dir()]
    for name in sets:
        for share in map(float, chosen.shares.split(",")):
            for seed in map(int, chosen.seeds.split(",")):
                rows = read(chosen.data / name, share, seed)
                for why, number in rows.left_out.items():
                    print(f"{name}: {number} test rows {why} are left out, {len(rows.test)} stay", flush=True)
                for arm in arms:
                    place = chosen.output / "runs" / f"{name}~{share:g}~{seed}~{slug(arm)}.json"
                    if place.exists() or not possible(arm, rows):
                        continue
                    print(f"{name}, {share:.0%} of the rows, seed {seed}: {arm}", flush=True)
                    work = chosen.output / "work" / place.stem
                    found = run(Trial(rows, chosen.encoder, chosen.max_tokens, work, seed), arm)
                    about = {"set": name, "arm": arm, "share": share, "seed": seed, "commit": code}
                    write_text(place, json.dumps(about | found))


def main() -> None:
    """Run what has not been run, or measure again, then make table and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default="", help="pretrained encoder; --remeasure needs none")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--sets", default="", help=f"those of {', '.join(SETS)} that DATA has unless given")
    parser.add_argument("--arms", default="", help="their names, separated by semicolons; all unless given")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--shares", default="1")
    parser.add_argument("--max_tokens", type=int, default=256, help="of a text that ours and the peers here read")
    parser.add_argument("--remeasure", action="store_true", help="compute all figures again from the stored scores")
    chosen = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    logging.getLogger("unskew").setLevel(logging.INFO)
    if chosen.remeasure:
        remeasure(chosen.output, chosen.data)
    elif chosen.encoder:
        run_all(chosen)
    else:
        parser.error("give --encoder, or --remeasure")
    found: Found = defaultdict(list)
    for path in sorted((chosen.output / "runs").glob("*.json")):
        one = json.loads(path.read_text("utf-8"))
        found[one["set"], one["arm"], one["share"]].append(one)
    write_text(chosen.output / "table.md", table(found))
    draw(found, chosen.output / "real.png")
    print(table(found))


if __name__ == "__main__":
    main()
