"""Stage 1 on real sets: what a newcomer's first fit reaches, beside what takes a minute with scikit-learn.

    python benchmarks/real.py --data FOLDER --encoder BASE --output runs/real

FOLDER holds a folder for each set with train.jsonl, test.jsonl and, where there is one, noisy.jsonl, as
`unskew newsroom` writes them too; BASE is a pretrained encoder. Every run is a file of OUTPUT/runs, so that the same
command goes on where it stopped; the table and the picture are made from all the files there. A learning curve:
--shares 0.1,0.3,1. Nothing is chosen on test rows.

The peers are plain scikit-learn over the frozen encoder's mean-pooled, normalised features, or over TF-IDF; the Trainer
of transformers; and SetFit and AutoGluon, where the environment variables SETFIT_PYTHON and AUTOGLUON_PYTHON name
interpreters that have them.
"""

import argparse
import json
import logging
import os
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from trainer_peer import train_and_predict
from transformers import AutoModel, AutoTokenizer

from unskew.balance import Calibration, PosteriorCorrector, adapt_target, resolve_prior, topic_metrics
from unskew.common import write_text
from unskew.corpus import Columns, Record, Topics, load_usable, stratified_split
from unskew.encoder import EncoderSettings, fit_topic_encoder
from unskew.training import PhaseSettings

INTERPRETERS = {"SetFit": "SETFIT_PYTHON", "AutoGluon": "AUTOGLUON_PYTHON"}  # environment variables that name them
SETFIT_STEPS = 600  # of 16 pairs: twice the texts that our tuning sees of 2,300 rows
SETS = ("snips-lt", "hwu64-lt", "atis", "reuters-r52")
SHOWN = {
    "macro_f1": "macro-F1",
    "balanced_accuracy": "balanced accuracy",
    "nll": "NLL",
    "ece": "calibration error",
    "prior_pull": "prior pull",
    "train_accuracy": "accuracy, training prior",
    "train_macro_f1": "macro-F1, training prior",
    "adaptive_accuracy": "accuracy, adaptive",
    "adaptive_macro_f1": "macro-F1, adaptive",
    "adaptive_nll": "NLL, adaptive",
    "adaptive_prior_pull": "prior pull, adaptive",
    "cpu_seconds": "CPU seconds",
}


@dataclass(frozen=True)
class Rows:
    """One set: rows to train on, noisy ones, and test rows of topics that training rows have."""

    train: list[Record]
    noisy: list[Record]
    test: list[Record]
    topics: Topics

    @property
    def labels(self) -> np.ndarray:
        """Topics of the training rows (n,)."""
        return np.array(self.topics.encode(str(record.topic) for record in self.train))


def read(folder: Path, share: float, seed: int) -> Rows:
    """A set, or a share of its training rows, each topic in proportion and with a row at least."""
    sets = {name: _usable(folder / f"{name}.jsonl") for name in ("train", "noisy", "test")}
    train = [record for record in sets["train"] if record.topic]
    if share < 1:
        train = [train[i] for i in stratified_split([str(r.topic) for r in train], share, seed)[1]]
    topics = Topics.from_labels(str(record.topic) for record in train)
    known = {name: [record for record in sets[name] if record.topic in topics] for name in ("noisy", "test")}
    return Rows(train, known["noisy"], known["test"], topics)


def _usable(path: Path) -> list[Record]:
    """The rows of a file that have a text and a topic; none where there is no file."""
    return load_usable(path, Columns(), needs=("text", "topic"))[0] if path.exists() else []


def frozen(base: str, texts: list[str]) -> np.ndarray:
    """Mean-pooled, normalised features (n, d) of texts up to 128 tokens, by plain transformers."""
    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModel.from_pretrained(base, dtype=torch.float32).eval()
    order, found = np.argsort([len(text) for text in texts]), np.empty((len(texts), model.config.hidden_size))
    with torch.inference_mode():
        for rows in np.array_split(order, max(1, len(texts) // 32)):
            inputs = tokenizer(
                [texts[i] for i in rows], truncation=True, max_length=128, padding=True, return_tensors="pt"
            )
            mask = inputs["attention_mask"][..., None]
            pooled = (model(**inputs).last_hidden_state * mask).sum(1) / mask.sum(1)
            found[rows] = torch.nn.functional.normalize(pooled, dim=-1)
    return found


def svm(rows: Rows, base: str, folder: Path, seed: int) -> tuple[torch.Tensor, bool]:
    """TF-IDF and a linear SVM with balanced weights: its margins, which are no probabilities."""
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = make_pipeline(vectors, LinearSVC(class_weight="balanced", random_state=seed))
    model.fit([record.text for record in rows.train], rows.labels)
    margins = model.decision_function([record.text for record in rows.test])
    return torch.from_numpy(np.atleast_2d(margins)), False


def regression(weights: str | None, corrected: bool) -> Callable[..., tuple[torch.Tensor, bool]]:
    """Logistic regression on frozen features; the training counts divided out where `corrected`."""

    def arm(rows: Rows, base: str, folder: Path, seed: int) -> tuple[torch.Tensor, bool]:
        features = frozen(base, [record.text for record in [*rows.train, *rows.test]])
        model = LogisticRegression(C=10, class_weight=weights, max_iter=2000).fit(
            features[: len(rows.train)], rows.labels
        )
        scores = model.decision_function(features[len(rows.train) :])
        scores = np.stack([-scores, scores], 1) / 2 if scores.ndim == 1 else scores
        return torch.from_numpy(scores - (np.log(rows.topics.counts) if corrected else 0)), True

    return arm


def unskew(noisy: bool, **settings: object) -> Callable[..., tuple[torch.Tensor, bool]]:
    """A fit of ours, with its defaults but for `settings`; logits that favour no topic."""

    def arm(rows: Rows, base: str, folder: Path, seed: int) -> tuple[torch.Tensor, bool]:
        chosen = EncoderSettings(base, trainer={"accelerator": "cpu", "devices": 1}, **settings)  # pyright: ignore[reportArgumentType]
        fitted = fit_topic_encoder(rows.train, [], rows.noisy if noisy else None, rows.topics, chosen, folder, seed)
        logits = fitted.encoder.logits([record.text for record in rows.test])
        return logits.double() - torch.tensor(fitted.model_prior).log(), True

    return arm


def trainer(epochs: int, rate: float) -> Callable[..., tuple[torch.Tensor, bool]]:
    """The Trainer of transformers, the counts divided out; its own view is that of the training prior."""

    def arm(rows: Rows, base: str, folder: Path, seed: int) -> tuple[torch.Tensor, bool]:
        texts, asked = ([record.text for record in records] for records in (rows.train, rows.test))
        scores = train_and_predict(base, texts, rows.labels.tolist(), asked, str(folder), seed, epochs, rate)
        return torch.from_numpy(scores - np.log(rows.topics.prior)), True

    return arm


def elsewhere(peer: str, *options: object) -> Callable[..., tuple[torch.Tensor, bool]]:
    """A peer in its own interpreter, the counts divided out; its own view is that of the training prior."""

    def arm(rows: Rows, base: str, folder: Path, seed: int) -> tuple[torch.Tensor, bool]:
        folder.mkdir(parents=True, exist_ok=True)
        for name, records in {"train": rows.train, "test": rows.test}.items():
            lines = (json.dumps({"text": record.text, "topic": record.topic}) for record in records)
            write_text(folder / f"{name}.jsonl", "\n".join(lines))
        write_text(folder / "topics.json", json.dumps(rows.topics.names))
        script = Path(__file__).with_name(f"{peer.lower()}_peer.py")
        paths = [str(folder / name) for name in ("train.jsonl", "test.jsonl", "topics.json", "scores.npz")]
        command = [os.environ[INTERPRETERS[peer]], script, base, *paths, *map(str, options), str(seed)]
        subprocess.run(command, check=True)
        scores = np.load(paths[-1])["scores"]
        return torch.from_numpy(scores - np.log(rows.topics.prior)), True

    return arm


Found = dict[
    tuple[str, str, float], list[dict[str, float | None]]
]  # figures of each seed by set, arm and share of rows
DRAWN = "adaptive_macro_f1"  # what a job gets by default
ARMS = {
    "TF-IDF + balanced SVM": svm,
    "frozen, balanced regression": regression("balanced", corrected=False),
    "frozen, regression, counts divided out": regression(None, corrected=True),
    "SetFit": elsewhere("SetFit", SETFIT_STEPS),
    "AutoGluon": elsewhere("AutoGluon"),
    "Trainer, 5 epochs": trainer(5, 5e-5),
    "Trainer, 10 epochs at 2e-4": trainer(10, 2e-4),
    "plain fine-tuning": unskew(False, recipe="phases", clean=PhaseSettings(epochs=5, learning_rate=1e-4)),
    "unskew, probe": unskew(False, recipe="probe"),
    "unskew, default": unskew(False),
    "unskew, probe, with the noisy set": unskew(True, recipe="probe"),
    "unskew, default, with the noisy set": unskew(True),
}


def cpu_time() -> float:
    """Seconds of CPU used by this process and those it waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def run(rows: Rows, arm: str, base: str, folder: Path, seed: int) -> dict[str, float | None]:
    """Fit an arm and measure it: topics alike, under the training prior, and adapted to the test rows' texts."""
    begun, used = time.monotonic(), cpu_time()
    scores, probabilities = ARMS[arm](rows, base, folder, seed)
    seconds, cpu_seconds = time.monotonic() - begun, cpu_time() - used
    folder.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder.with_suffix(".npz"), scores=scores.float().numpy())
    return {**measured(scores, probabilities, rows), "seconds": seconds, "cpu_seconds": cpu_seconds}


def measured(scores: torch.Tensor, probabilities: bool, rows: Rows) -> dict[str, float | None]:
    """Figures of scores (n, C) that favour no topic; margins of an SVM are no log-probabilities and know no prior."""
    labels = torch.tensor(rows.topics.encode(str(record.topic) for record in rows.test))
    uniform = resolve_prior("uniform", rows.topics)
    corrector = PosteriorCorrector(rows.topics, uniform, Calibration(), uniform)
    adapted = adapt_target(corrector, scores.float()).shares
    figures: dict[str, float | None] = {}
    for name, prior in {"": "uniform", "train_": "train", "adaptive_": adapted}.items():
        decisions = corrector.with_target_prior(prior if probabilities else "uniform")(scores.float())
        said = topic_metrics(decisions, labels, rows.topics.counts)
        figures |= {name + key: value for key, value in said.items()}
        figures |= {name + key: None for key in ("nll", "ece") if not probabilities}
    return figures


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

    sets = [name for name in (*SETS, "newsroom") if any(key[0] == name for key in found)]
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


def possible(arm: str, rows: Rows) -> bool:
    """Whether there is what an arm needs."""
    return bool(rows.noisy) if "noisy" in arm else arm not in INTERPRETERS or INTERPRETERS[arm] in os.environ


def slug(arm: str) -> str:
    """Its name in a file name."""
    return "-".join("".join(letter if letter.isalnum() else " " for letter in arm).lower().split())


def main() -> None:
    """Run what has not been run, then make table and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--arms", default="", help="their names, separated by semicolons; all unless given")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--shares", default="1")
    chosen = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    logging.getLogger("unskew").setLevel(logging.INFO)
    arms = [arm for arm in ARMS if not chosen.arms or arm in chosen.arms.split(";")]
    for name in chosen.sets.split(","):
        for share in map(float, chosen.shares.split(",")):
            for seed in map(int, chosen.seeds.split(",")):
                rows = read(chosen.data / name, share, seed)
                for arm in arms:
                    place = chosen.output / "runs" / f"{name}~{share:g}~{seed}~{slug(arm)}.json"
                    if place.exists() or not possible(arm, rows):
                        continue
                    print(f"{name}, {share:.0%} of the rows, seed {seed}: {arm}", flush=True)
                    work = chosen.output / "work" / place.stem
                    figures = run(rows, arm, chosen.encoder, work, seed)
                    write_text(place, json.dumps({"set": name, "arm": arm, "share": share, "seed": seed, **figures}))
    found: Found = defaultdict(list)
    for path in sorted((chosen.output / "runs").glob("*.json")):
        one = json.loads(path.read_text("utf-8"))
        found[one["set"], one["arm"], one["share"]].append(one)
    write_text(chosen.output / "table.md", table(found))
    draw(found, chosen.output / "real.png")
    print(table(found))


if __name__ == "__main__":
    main()
