"""Pictures of an evaluation or an audit, by matplotlib (the extra `plots`). Knows decisions and topics, no model."""

import warnings
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..balance import confusion as counted
from ..balance import reliability
from ..corpus import Topics
from .labelled_predictions import LabelledPredictions

INK, TRUE, TRAIN = "#3366aa", "#999999", "#cc6633"
MOST_NAMES = 40  # beyond this number topic names are unreadable


def draw_evaluation(
    path: Path, probabilities: torch.Tensor, labels: torch.Tensor, topics: Topics, decided: torch.Tensor
) -> None:
    """Write a PNG: recall by topic, predicted against true and training shares, and reliability.

    Args:
        path: Name of the file.
        probabilities: Probabilities (n, C); the reliability is that of the most probable topics.
        labels: True topics (n,).
        topics: The topics.
        decided: Decided topics (n,), -1 for undecided rows, which are left out of recall and shares.
    """
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    recall, shares, sureness = figure.subplots(1, 3, width_ratios=[2, 2, 1.2])
    confidence, likeliest = probabilities.max(-1)
    rows = counted.confusion(decided[decided >= 0], labels[decided >= 0], len(topics))
    _recall(recall, rows, topics)
    _shares(shares, rows, topics)
    _reliability(sureness, confidence, likeliest == labels)
    _save(figure, path)


def draw_audit(path: Path, joined: LabelledPredictions) -> None:
    """Write a PNG of the parts of `draw_evaluation` that the joined files allow."""
    known = ~joined.confidence.isnan()
    figure = Figure(figsize=(15 if known.any() else 12, 4.6), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=[2, 2, 1.2]) if known.any() else figure.subplots(1, 2)
    rows = counted.confusion(joined.decided, joined.true, len(joined.topics), len(joined.topics) + 1)
    _recall(axes[0], rows, joined.topics, joined.trained)
    _shares(axes[1], rows, joined.topics, joined.trained)
    if known.any():
        _reliability(axes[2], joined.confidence[known], (joined.decided == joined.true)[known])
    _save(figure, path)


def _recall(axes: Axes, rows: torch.Tensor, topics: Topics, trained: bool = True) -> None:
    axes.bar(range(len(topics)), np.nan_to_num(counted.recall(rows).numpy()), color=INK)
    order = "most training rows first" if trained else "most rows first"
    axes.set(title=f"Recall by topic, {order}", ylim=(0, 1), ylabel="recall")
    _name_topics(axes, topics)


def _shares(axes: Axes, rows: torch.Tensor, topics: Topics, trained: bool = True) -> None:
    places = np.arange(len(topics))
    axes.bar(places - 0.2, rows.sum(1) / rows.sum(), 0.4, color=TRUE, label="true share")
    axes.bar(places + 0.2, rows.sum(0)[: len(topics)] / rows.sum(), 0.4, color=INK, label="predicted share")
    if trained:
        axes.plot(places, topics.prior, color=TRAIN, marker=".", label="training share")
    axes.set(title="Predicted against true shares", ylabel="share of rows")
    axes.legend(frameon=False)
    _name_topics(axes, topics)


def _reliability(axes: Axes, confidence: torch.Tensor, right: torch.Tensor) -> None:
    mean, shares, _ = zip(*reliability(confidence, right), strict=True)
    axes.plot([0, 1], [0, 1], color=TRUE, linewidth=1)
    axes.plot(mean, shares, color=INK, marker="o")
    axes.set(title="Reliability", xlabel="confidence", ylabel="share right", xlim=(0, 1), ylim=(0, 1))


def _name_topics(axes: Axes, topics: Topics) -> None:
    names = topics.names if len(topics) <= MOST_NAMES else ()
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8, parse_math=False)


def _save(figure: Figure, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a missing letter is a box; the JSON has it
        figure.savefig(path, dpi=110)
