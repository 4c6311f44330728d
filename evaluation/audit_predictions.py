"""Measures the skew of any system's predictions, and sums it up in one sentence.

Knows joined predictions and the balance room's metrics, but no model, so it starts at once.
"""

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..balance import Counts, calibration_error, judged_prior_pull, negative_log_likelihood, skew
from ..balance import confusion as counted
from ..common import check_seed, check_writable, output_folder, refuse_existing, replacing_folder, write_text
from ..corpus import BANDS, Source
from .audit_files import AuditColumns
from .labelled_predictions import LabelledPredictions, join

log = logging.getLogger("unskew")

AUDIT_RESULT = "audit.json"
FORMAT = 1
RESAMPLES = 1000
EDGES = torch.tensor([0.025, 0.975], dtype=torch.float64)
MOST_TOPICS = 5  # topics shown at each end
NEAR = 1.1  # factor: a topic is listed if it is predicted this much too often or too rarely
CELLS_AT_ONCE = 2**22  # cells of resampled matrices at a time: 32 MB
# Without the worst topic's recall, the divergence and the calibration errors: a resample is more uneven than its rows,
# which shifts all of these in one direction.
WITH_INTERVAL = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    *(f"recall_{name}" for name in BANDS),
)


@dataclass(frozen=True)
class TopicSkew:
    """The skew of one topic.

    Attributes:
        topic: Name of the topic.
        rows: Number of rows with this true topic.
        recall: Share of these rows that were predicted right; None without rows.
        true_share: Share of all rows with this true topic.
        predicted_share: Share of all rows with this predicted topic.
        training_share: Share of the training rows; None without a training set.
        times: Predicted rows over true rows, each with half a row added.
    """

    topic: str
    rows: int
    recall: float | None
    true_share: float
    predicted_share: float
    training_share: float | None
    times: float


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Attributes:
        rows: Number of rows measured.
        metrics: Metrics by their names in `unskew.balance.topic_metrics`; None without rows to measure, absent if
            the files do not allow it.
        intervals: 95% bootstrap intervals of the main metrics.
        topics: Skew of each topic, most frequent first by training rows, or without a training set by rows.
        problems: Number of rows with each problem, see `labelled_predictions.PROBLEMS`; zeros are left out.
        examples: The first row of each problem, if there is something to name.
        trained: Whether there was a training set.
    """

    rows: int
    metrics: dict[str, float | None]
    intervals: dict[str, tuple[float, float]]
    topics: list[TopicSkew]
    problems: dict[str, int]
    examples: dict[str, str]
    trained: bool


def audit(
    predictions: Source,
    labels: Source,
    train: Source | None = None,
    output: str | Path | None = None,
    *,
    columns: AuditColumns | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Audit:
    """Measure the skew of anyone's predictions; with `output` write audit.json and audit.png there.

    Args:
        predictions: Rows with an id and the predicted topic; the topics' probabilities are optional.
        labels: Rows with an id and the true topic; each prediction is measured against the label of its id.
        train: The training set behind the predictions: rows with a topic, or a JSON object {topic: count}.
            Without it there are no bands, no prior pull and no share of errors to more frequent topics.
        output: A folder for audit.json and audit.png; None writes nothing.
        columns: Names of the columns.
        seed: Random seed of the bootstrap.
        overwrite: Whether `output` may be replaced.

    Raises:
        UserError: If a file cannot be read, no row can be measured, or `output` exists and must not be replaced.
    """
    check_seed(seed)
    if output is not None:
        output = output_folder(output)
        refuse_existing(output, overwrite, AUDIT_RESULT)
        check_writable(output.parent)
    joined = join(predictions, labels, train, columns or AuditColumns())
    result = measure_skew(joined, seed)
    if output is not None:
        with replacing_folder(output) as place:
            stored = {"format": FORMAT, "verdict": verdict(result), **asdict(result)}
            write_text(place / AUDIT_RESULT, json.dumps(stored, indent=2, ensure_ascii=False) + "\n")
            _draw(place / "audit.png", joined)
    return result


def measure_skew(joined: LabelledPredictions, seed: int = 0) -> Audit:
    """All metrics that the joined rows allow."""
    topics = len(joined.topics)
    rows = counted.confusion(joined.decided, joined.true, topics, topics + 1)
    metrics = {name: value.item() for name, value in _of_decisions(rows, joined).items()} | _of_probabilities(joined)
    if joined.trained:
        metrics |= skew(rows, joined.topics.counts)
    return Audit(
        len(joined.true),
        {name: None if value != value else value for name, value in metrics.items()},
        _intervals(rows, joined, seed),
        _topics(rows, joined),
        {name: count for name, count in joined.counts.items() if count},
        joined.examples,
        joined.trained,
    )


def _of_decisions(rows: Tensor, joined: LabelledPredictions) -> dict[str, Tensor]:
    """Metrics (...) of confusion matrices (..., C, C + 1); the last column counts rows without a predicted topic."""
    recall = counted.recall(rows)
    metrics = {
        "accuracy": counted.accuracy(rows),
        "balanced_accuracy": recall.nanmean(-1),
        "macro_f1": counted.f1(rows).nanmean(-1),
        "worst_topic_recall": recall.nan_to_num(torch.inf).amin(-1),
        "marginal_kl": counted.marginal_divergence(rows),
    }
    if joined.trained:
        bands = counted.band_means(recall, joined.topics.counts)
        metrics |= {f"recall_{name}": value for name, value in bands.items()}
    return metrics


def _of_probabilities(joined: LabelledPredictions) -> dict[str, float]:
    """NLL and calibration errors of the rows that have probabilities; empty if no row has any.

    The metrics need only the probabilities of the true and the predicted topic: a matrix of one column each.
    """
    own = joined.own[~joined.own.isnan()]
    if len(own) == 0:
        return {}
    measured = ~joined.confidence.isnan()
    decided, confidence = joined.decided[measured], joined.confidence[measured, None]
    wrong = (decided != joined.true[measured]).long()
    metrics = {
        "nll": negative_log_likelihood(own[:, None], torch.zeros(len(own), dtype=torch.long)),
        "ece": calibration_error(confidence, wrong),
    }
    if joined.trained:
        bands = np.array(counted.topic_bands(joined.topics.counts))[decided.numpy()]
        for name in BANDS:
            rows = torch.from_numpy(bands == name)
            metrics[f"ece_{name}"] = calibration_error(confidence[rows], wrong[rows])
    return metrics


def _intervals(rows: Tensor, joined: LabelledPredictions, seed: int) -> dict[str, tuple[float, float]]:
    """95% percentile intervals over resampled rows; a metric that over half the resamples lack gets none."""
    parts = [_of_decisions(some, joined) for some in _resampled(rows, seed)]
    intervals = {}
    for name in WITH_INTERVAL:
        values = torch.cat([part[name] for part in parts if name in part] or [torch.empty(0)]).double()
        if (~values.isnan()).sum() > RESAMPLES / 2:
            low, high = values.nanquantile(EDGES).tolist()
            intervals[name] = (low, high)
    if joined.trained and (pull := pull_interval(rows, joined.topics.counts, seed)) is not None:
        intervals["prior_pull"] = pull
    wrong = rows[:, : len(rows)].sum().item() - rows.diagonal().sum().item()
    if joined.trained and wrong:
        share = counted.errors_to_frequent(rows, joined.topics.counts).item()
        intervals["errors_to_frequent"] = wilson_interval(share, wrong)
    return intervals


def wilson_interval(share: float, rows: float) -> tuple[float, float]:
    """The 95% interval of a share of rows (Wilson 1927): right for shares near 0 and 1 and for few rows."""
    z = 1.96
    middle = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z * math.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2)) / (1 + z**2 / rows)
    return max(0.0, middle - half), min(1.0, middle + half)


def pull_interval(rows: Tensor, counts: Counts, seed: int = 0) -> tuple[float, float] | None:
    """The 95% interval of the prior pull by a parametric bootstrap, corrected for bias; None if there is no pull.

    Resamples are drawn from the shrunk true counts of the estimate, which have no sampling noise: resamples of the rows
    themselves would have that noise twice. The interval is reflected about the estimate (the "basic" interval, Davison
    & Hinkley 1997, section 5.2), which corrects the bias that the resamples show.
    """
    estimate = judged_prior_pull(rows, counts)
    if estimate != estimate:
        return None
    fitted = counted.with_true_counts(rows, counted.true_topic_counts(rows, counts))
    drawn = torch.cat([counted.prior_pull(some, counts) for some in _resampled(fitted, seed)])
    low, high = drawn.nanquantile(EDGES).tolist()
    return 2 * estimate - high, 2 * estimate - low


def _resampled(rows: Tensor, seed: int) -> Iterator[Tensor]:
    """Bootstrap resamples (R, C, D) of a confusion matrix (C, D), some at a time.

    Resampling n rows is one multinomial draw over the cells. scipy.stats.bootstrap draws rows instead, so it would need
    a million numbers for each resample of a million rows.
    """
    draw = np.random.default_rng(seed)
    filled = rows.flatten().nonzero().squeeze(-1)
    counts = rows.flatten()[filled]
    total, size = round(counts.sum().item()), max(1, CELLS_AT_ONCE // rows.numel())
    for start in range(0, RESAMPLES, size):
        drawn = draw.multinomial(total, (counts / counts.sum()).numpy(), size=min(size, RESAMPLES - start))
        some = torch.zeros(len(drawn), rows.numel(), dtype=torch.float64)
        some[:, filled] = torch.from_numpy(drawn).double()
        yield some.view(-1, *rows.shape)


def _topics(rows: Tensor, joined: LabelledPredictions) -> list[TopicSkew]:
    total = rows.sum().item()
    true, decided = rows.sum(1).tolist(), rows.sum(0).tolist()
    prior: tuple[Any, ...] = joined.topics.prior if joined.trained else (None,) * len(true)
    columns = zip(joined.topics.names, counted.recall(rows).tolist(), true, decided, prior, strict=False)
    return [
        TopicSkew(name, int(t), r if t else None, t / total, q / total, p, (q + 0.5) / (t + 0.5))
        for name, r, t, q, p in columns
    ]


def _draw(path: Path, joined: LabelledPredictions) -> None:
    try:
        from .plots import draw_audit
    except ImportError:
        log.info("no pictures: install them with `pip install unskew[plots]`")
        return
    draw_audit(path, joined)


def verdict(audit: Audit) -> str:
    """One plain sentence: how strong the skew is, how certain it is, and which topics it affects."""
    pull, interval = audit.metrics.get("prior_pull"), audit.intervals.get("prior_pull")
    skewed = most_skewed(audit)
    rare = next((topic for topic in reversed(skewed) if topic.times < 1), None)
    hit = "" if rare is None else f"; {rare.topic!r} suffers most: {share_text(rare.true_share)} of the rows, "
    hit += "" if rare is None else f"{share_text(rare.predicted_share)} of the predictions"
    if not audit.trained:
        divergence = audit.metrics["marginal_kl"]
        return f"predicted shares are {divergence:.3f} nats from the true ones{hit}; --train says what pulls them"
    if pull is None or interval is None:
        return (
            "a pull toward the training shares cannot be judged, because the true shares are nearly the same or the "
            f"rows too few; audit rows with other shares, ideally equally many of each topic{hit}{_errors(audit)}"
        )
    sure = f"95% interval {interval[0]:.2f} to {interval[1]:.2f}"
    if interval[0] <= 0 <= interval[1]:
        return f"no significant pull of the predictions toward the training shares: {pull:.2f} ({sure}){hit}"
    if pull < 0:
        return f"predictions lean away from the training shares: prior pull {pull:.2f} ({sure}){hit}"
    return f"predictions are pulled toward the training shares: prior pull {pull:.2f} ({sure}){hit}{_errors(audit)}"


def _errors(audit: Audit) -> str:
    share, interval = audit.metrics.get("errors_to_frequent"), audit.intervals.get("errors_to_frequent")
    chance = audit.metrics.get("errors_to_frequent_by_chance")
    if share is None or interval is None or chance is None:
        return ""
    return (
        f"; {share:.0%} of the wrong predictions ({interval[0]:.0%} to {interval[1]:.0%}) went to a topic more "
        f"frequent in training than the true one, {chance:.0%} would by chance"
    )


def most_skewed(audit: Audit) -> list[TopicSkew]:
    """The topics predicted too often, largest factor first, then the topics predicted too rarely, worst last."""
    ordered = sorted(audit.topics, key=lambda topic: -topic.times)
    over = [topic for topic in ordered if topic.times > NEAR][:MOST_TOPICS]
    return over + [topic for topic in ordered if topic.times < 1 / NEAR][-MOST_TOPICS:]


def share_text(value: float) -> str:
    """A share as a percentage, with one more decimal if it is tiny."""
    return f"{value:.1%}" if value >= 0.001 or value == 0 else f"{value:.2%}"
