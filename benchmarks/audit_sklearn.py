"""Audits the predictions of two plain scikit-learn classifiers on real sets, made without unskew.

python benchmarks/audit_sklearn.py --data FOLDER --output runs/audit [--sets snips-lt,hwu64-lt,atis]

FOLDER/SET/train.jsonl and test.jsonl have rows with `id`, `text` and `topic`. TF-IDF of words with multinomial naive
Bayes and with logistic regression, both with defaults, are fitted on the first and predict the second. The audits are
written to OUTPUT/SET-MODEL (audit.json, audit.png); a table and a picture of all, without rows of the data, to OUTPUT.
"""

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from jsonargparse import auto_cli
from matplotlib.ticker import NullFormatter
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from unskew.common import write_jsonl, write_text
from unskew.evaluation import audit
from unskew.evaluation.audit_predictions import Audit, verdict

MODELS = {"naive Bayes": MultinomialNB(), "logistic regression": LogisticRegression(max_iter=1000)}


def main(data: str, output: str, sets: str = "snips-lt,hwu64-lt,atis") -> None:
    """Fit, predict, audit; write the table and the picture."""
    place, found = Path(output), {}
    place.mkdir(parents=True, exist_ok=True)
    for name in sets.split(","):
        for model, estimator in MODELS.items():
            found[name, model] = _audited(Path(data) / name, estimator, place / f"{name}-{model.replace(' ', '-')}")
            print(f"{name}, {model}: {verdict(found[name, model])}")
    write_text(place / "audit.md", _table(found))
    _draw(place / "audit.png", found)


def _audited(folder: Path, estimator: Any, place: Path) -> Audit:
    train, test = (_rows(folder / f"{part}.jsonl") for part in ("train", "test"))
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True), estimator)
    model.fit([row["text"] for row in train], [row["topic"] for row in train])
    texts = [row["text"] for row in test]
    rows = zip(test, model.predict(texts).tolist(), model.predict_proba(texts).tolist(), strict=True)
    classes = model.classes_.tolist()
    predictions = place.with_suffix(".jsonl")
    write_jsonl(
        predictions,
        [
            {"id": row["id"], "topic": topic, "topics": dict(zip(classes, shares, strict=True))}
            for row, topic, shares in rows
        ],
    )
    return audit(str(predictions), str(folder / "test.jsonl"), str(folder / "train.jsonl"), place, overwrite=True)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _table(found: dict[tuple[str, str], Audit]) -> str:
    lines = [
        "| set | model | accuracy | macro-F1 | recall, topics of under 20 | prior pull (slope) | errors to a more "
        "frequent topic | by chance |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (name, model), result in found.items():
        shown = ("accuracy", "macro_f1", "recall_few", "prior_pull", "errors_to_frequent")
        cells = [_figure(result, metric) for metric in shown]
        chance = result.metrics["errors_to_frequent_by_chance"]
        lines.append(f"| {name} | {model} | " + " | ".join(cells) + f" | {chance:.2f} |")
    return "\n".join(lines) + "\n"


def _figure(result: Audit, metric: str) -> str:
    value, interval = result.metrics.get(metric), result.intervals.get(metric)
    if value is None:
        return "not judged" if metric == "prior_pull" else ""
    return f"{value:.2f}" + ("" if interval is None else f" [{interval[0]:.2f}, {interval[1]:.2f}]")


def _draw(path: Path, found: dict[tuple[str, str], Audit]) -> None:
    """Predicted over true rows of each topic against its training rows; one panel for each set and model."""
    sets = list(dict.fromkeys(name for name, _ in found))
    figure, panels = plt.subplots(
        len(MODELS), len(sets), figsize=(3.6 * len(sets), 5.6), sharey=True, layout="constrained", squeeze=False
    )
    for (name, model), result in found.items():
        axes = panels[list(MODELS).index(model), sets.index(name)]
        topics = [topic for topic in result.topics if topic.training_share]

        axes.axhline(1, color="0.6", linewidth=1)
        axes.scatter([t.training_share * 100 for t in topics if t.training_share], [t.times for t in topics], s=14)
        axes.set(xscale="log", yscale="log", title=f"{name}, {model}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="training share, %", ylabel="predicted / true rows" if axes in panels[:, 0] else "")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
