"""Pictures of an evaluation, with matplotlib (the extra `plots`). Knows probabilities and topics, no model."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve

from ..balance import topic_recall
from ..corpus import Topics

INK, TRUE, TRAIN = "#3366aa", "#999999", "#cc6633"
MOST_NAMES = 40  # more topic names than that cannot be read


def draw_evaluation(path: Path, probabilities: torch.Tensor, targets: torch.Tensor, topics: Topics) -> None:
    """Write a PNG: recall by topic, predicted against true and training shares, and reliability."""
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    recall, shares, reliability = figure.subplots(1, 3, width_ratios=[2, 2, 1.2])
    _recall(recall, probabilities, targets, topics)
    _shares(shares, probabilities, targets, topics)
    _reliability(reliability, probabilities, targets)
    figure.savefig(path, dpi=110)


def _recall(axes: Axes, probabilities: torch.Tensor, targets: torch.Tensor, topics: Topics) -> None:
    axes.bar(range(len(topics)), np.nan_to_num(topic_recall(probabilities, targets).numpy()), color=INK)
    axes.set(title="Recall by topic, most training rows first", ylim=(0, 1), ylabel="recall")
    _name_topics(axes, topics)


def _shares(axes: Axes, probabilities: torch.Tensor, targets: torch.Tensor, topics: Topics) -> None:
    places = np.arange(len(topics))
    decided = torch.bincount(probabilities.argmax(-1), minlength=len(topics)) / len(targets)
    true = torch.bincount(targets, minlength=len(topics)) / len(targets)
    axes.bar(places - 0.2, true, 0.4, color=TRUE, label="true share")
    axes.bar(places + 0.2, decided, 0.4, color=INK, label="predicted share")
    axes.plot(places, topics.prior, color=TRAIN, marker=".", label="training share")
    axes.set(title="Predicted against true shares", ylabel="share of rows")
    axes.legend(frameon=False)
    _name_topics(axes, topics)


def _reliability(axes: Axes, probabilities: torch.Tensor, targets: torch.Tensor) -> None:
    confidence, decided = probabilities.max(-1)
    right, mean = calibration_curve((decided == targets).numpy(), confidence.numpy(), n_bins=10, strategy="quantile")
    axes.plot([0, 1], [0, 1], color=TRUE, linewidth=1)
    axes.plot(mean, right, color=INK, marker="o")
    axes.set(title="Reliability", xlabel="confidence", ylabel="share right", xlim=(0, 1), ylim=(0, 1))


def _name_topics(axes: Axes, topics: Topics) -> None:
    names = topics.names if len(topics) <= MOST_NAMES else ()
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8, parse_math=False)
