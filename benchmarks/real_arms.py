"""The arms of `real.py`: ours, and the peers.

The peers are plain scikit-learn over the frozen encoder's mean-pooled, normalised features, or over TF-IDF; the Trainer
of transformers; and SetFit and AutoGluon, where the environment variables SETFIT_PYTHON and AUTOGLUON_PYTHON name
interpreters that have them. These two read as many tokens of a text as is their default, the others what they are told.
"""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from trainer_peer import train_and_predict
from transformers import AutoModel, AutoTokenizer

from unskew.common import write_text
from unskew.corpus import Record, Topics
from unskew.encoder import EncoderSettings, fit_topic_encoder, recipe
from unskew.encoder.choice import Choice, choose
from unskew.training import PhaseSettings

INTERPRETERS = {"SetFit": "SETFIT_PYTHON", "AutoGluon": "AUTOGLUON_PYTHON"}  # environment variables that name them
SETFIT_STEPS = 600  # of 16 pairs: twice the texts that our tuning sees of 2,300 rows


@dataclass(frozen=True)
class Rows:
    """One set: rows to train on, noisy ones, test rows of topics that training rows have, and the number of others."""

    train: list[Record]
    noisy: list[Record]
    test: list[Record]
    topics: Topics
    left_out: dict[str, int]

    @property
    def labels(self) -> np.ndarray:
        """Topics of the training rows (n,)."""
        return np.array(self.topics.encode(str(record.topic) for record in self.train))


@dataclass(frozen=True)
class Trial:
    """What an arm fits: one set, a base, how many tokens of a text are read, a folder of its own, and a seed."""

    rows: Rows
    base: str
    max_tokens: int
    folder: Path
    seed: int


@dataclass(frozen=True)
class Scores:
    """An arm's scores (n, C) of test rows, which favour no topic, whether they are log-probabilities, and its notes."""

    values: torch.Tensor
    probabilities: bool = True
    notes: tuple[str, ...] = ()


Arm = Callable[[Trial], Scores]


def frozen(base: str, texts: list[str], max_tokens: int) -> np.ndarray:
    """Mean-pooled, normalised features (n, d) of texts, by plain transformers."""
    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModel.from_pretrained(base, dtype=torch.float32).eval()
    order, found = np.argsort([len(text) for text in texts]), np.empty((len(texts), model.config.hidden_size))
    with torch.inference_mode():
        for rows in np.array_split(order, max(1, len(texts) // 32)):
            inputs = tokenizer(
                [texts[i] for i in rows], truncation=True, max_length=max_tokens, padding=True, return_tensors="pt"
            )
            mask = inputs["attention_mask"][..., None]
            pooled = (model(**inputs).last_hidden_state * mask).sum(1) / mask.sum(1)
            found[rows] = torch.nn.functional.normalize(pooled, dim=-1)
    return found


def svm(trial: Trial) -> Scores:
    """TF-IDF and a linear SVM with balanced weights: its margins, which are no probabilities."""
    rows, vectors = trial.rows, TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = make_pipeline(vectors, LinearSVC(class_weight="balanced", random_state=trial.seed))
    model.fit([record.text for record in rows.train], rows.labels)
    margins = model.decision_function([record.text for record in rows.test])
    return Scores(torch.from_numpy(np.atleast_2d(margins)), probabilities=False)


def regression(weights: str | None, corrected: bool) -> Arm:
    """Logistic regression on frozen features; the training counts divided out where `corrected`."""

    def arm(trial: Trial) -> Scores:
        rows = trial.rows
        features = frozen(trial.base, [record.text for record in [*rows.train, *rows.test]], trial.max_tokens)
        model = LogisticRegression(C=10, class_weight=weights, max_iter=2000).fit(
            features[: len(rows.train)], rows.labels
        )
        scores = model.decision_function(features[len(rows.train) :])
        scores = np.stack([-scores, scores], 1) / 2 if scores.ndim == 1 else scores
        return Scores(torch.from_numpy(scores - (np.log(rows.topics.counts) if corrected else 0)))

    return arm


def unskew(noisy: bool, **settings: object) -> Arm:
    """A fit of ours, with its defaults but for `settings`; logits that favour no topic."""

    def arm(trial: Trial) -> Scores:
        rows, cpu = trial.rows, {"accelerator": "cpu", "devices": 1}
        chosen = EncoderSettings(trial.base, max_tokens=trial.max_tokens, trainer=cpu, **settings)  # pyright: ignore[reportArgumentType]
        weak = rows.noisy if noisy else None
        fitted = fit_topic_encoder(rows.train, [], weak, rows.topics, chosen, trial.folder, trial.seed)
        logits = fitted.encoder.logits([record.text for record in rows.test])
        return Scores(logits.double() - torch.tensor(fitted.model_prior).log(), notes=fitted.notes)

    return arm


def tuned_alone(trial: Trial) -> Scores:
    """Our default without its way back: what is tuned is kept even where held-out rows prefer the probe."""
    with patch.object(recipe, "choose", _never_the_probe):
        return unskew(noisy=False)(trial)


def _never_the_probe(probe: torch.Tensor, *others: Any) -> Choice:
    """The recipe's choice; if that is the probe, the choice where the probe knows nothing."""
    choice = choose(probe, *others)
    return choose(0 * probe, *others) if choice.refit_share is None else choice


def trainer(epochs: int, rate: float) -> Arm:
    """The Trainer of transformers, the counts divided out; its own view is that of the training prior."""

    def arm(trial: Trial) -> Scores:
        rows, place = trial.rows, str(trial.folder)
        texts, asked = ([record.text for record in records] for records in (rows.train, rows.test))
        given = (rows.labels.tolist(), asked, place, trial.seed, epochs, rate, trial.max_tokens)
        scores = train_and_predict(trial.base, texts, *given)
        return Scores(torch.from_numpy(scores - np.log(rows.topics.prior)))

    return arm


def elsewhere(peer: str, *options: object) -> Arm:
    """A peer in its own interpreter, the counts divided out; its own view is that of the training prior."""

    def arm(trial: Trial) -> Scores:
        rows, folder = trial.rows, trial.folder
        folder.mkdir(parents=True, exist_ok=True)
        for name, records in {"train": rows.train, "test": rows.test}.items():
            lines = (json.dumps({"text": record.text, "topic": record.topic}) for record in records)
            write_text(folder / f"{name}.jsonl", "\n".join(lines))
        write_text(folder / "topics.json", json.dumps(rows.topics.names))
        script = Path(__file__).with_name(f"{peer.lower()}_peer.py")
        paths = [str(folder / name) for name in ("train.jsonl", "test.jsonl", "topics.json", "scores.npz")]
        command = [os.environ[INTERPRETERS[peer]], script, trial.base, *paths, *map(str, options), str(trial.seed)]
        subprocess.run(command, check=True)
        scores = np.load(paths[-1])["scores"]
        return Scores(torch.from_numpy(scores - np.log(rows.topics.prior)))

    return arm


ARMS: dict[str, Arm] = {
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
    "unskew, fine-tuned alone": tuned_alone,
    "unskew, probe, with the noisy set": unskew(True, recipe="probe"),
    "unskew, default, with the noisy set": unskew(True),
}


def possible(arm: str, rows: Rows) -> bool:
    """Whether there is what an arm needs."""
    return bool(rows.noisy) if "noisy" in arm else arm not in INTERPRETERS or INTERPRETERS[arm] in os.environ
