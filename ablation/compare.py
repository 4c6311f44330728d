"""Compares two finished evaluations on the same rows: which is better, in which metric, and how surely.

Knows joined predictions and the statistics of paired rows, but no model. Intervals and p-values are over test rows
only: with one run each, they do not say what another seed would give.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binomtest
from torch import Tensor

from ..common import (
    METRIC_TITLES,
    UserError,
    check_writable,
    output_folder,
    refuse_existing,
    replacing_folder,
    usable_path,
    write_text,
)
from ..corpus import Source
from ..evaluation import AuditColumns, LabelledPredictions, join, measure_skew, read_labels
from .compared import ComparedMetric, ComparedTopic, Comparison
from .compared_page import render_comparison
from .data import TestRows
from .statistics import RESAMPLES, Resampler, holm, interval_of

COMPARISON_RESULT = "comparison.json"
TRUE_TOPIC = "true_topic"  # as `unskew evaluate` writes it
MOST_DRAWN = 2 * 10**8  # rows times resamples at a time
OF_TRAINING = ("recall_many", "recall_medium", "recall_few", "prior_pull", "errors_to_frequent")


def compare(
    run_a: str | Path,
    run_b: str | Path,
    *,
    labels: Source | None = None,
    train: Source | None = None,
    columns: AuditColumns | None = None,
    output: str | Path | None = None,
    overwrite: bool = False,
) -> Comparison:
    """Compare two runs in pairs, B less A; with `output` write comparison.json and comparison.html there.

    Accuracy and the recall of each topic are tested by McNemar's exact test (with Holm's correction over topics). Every
    metric has a 95% interval by a bootstrap of the rows, the same resamples for both runs.

    Args:
        run_a: A folder of `unskew evaluate`, or predictions as `unskew audit` reads them.
        run_b: Another system's run on the same rows, in either form.
        labels: Rows with an id and the true topic; needed if the predictions have no column true_topic.
        train: The training set of both, or its counts; adds bands and the prior pull.
        columns: Names of the columns, the same in both runs; without `labels`, the true topic is in true_topic unless
            `label` says otherwise.
        output: The folder for comparison.json and comparison.html; None writes nothing.
        overwrite: Whether `output` may be replaced.

    Raises:
        UserError: If a file cannot be read, or the runs were measured on different rows or with different topics.
    """
    if output is not None:
        output = output_folder(output)
        refuse_existing(output, overwrite, COMPARISON_RESULT)
        check_writable(output.parent)
    files = [_predictions(run) for run in (run_a, run_b)]
    columns = columns or AuditColumns()
    if labels is None:
        columns = columns if columns.label != AuditColumns.label else replace(columns, label=TRUE_TOPIC)
        _refuse_other_rows(files, (str(run_a), str(run_b)), columns)
    joined = [join(str(file), files[0] if labels is None else labels, train, columns) for file in files]
    for run, its in zip((run_a, run_b), joined, strict=True):
        if left := its.counts["unpredicted"] or its.counts["unlabelled"]:
            raise UserError(f"{run}: {left} rows differ from those of the labels; compare runs on the same test rows")
    result = _compared(joined[0], joined[1], (str(run_a), str(run_b)))
    if output is not None:
        with replacing_folder(output) as place:
            text = json.dumps(result.model_dump(), indent=2, ensure_ascii=False)
            write_text(place / COMPARISON_RESULT, text + "\n")
            write_text(place / "comparison.html", render_comparison(result))
    return result


def _predictions(run: str | Path) -> Path:
    path = usable_path(run)
    return path / "predictions.jsonl" if path.is_dir() else path


def _refuse_other_rows(files: list[Path], names: tuple[str, str], columns: AuditColumns) -> None:
    """Refuse runs with different rows or different true topics."""
    truths = []
    for file in files:
        its = read_labels(str(file), columns)
        truths.append({name: its.names[its.topics[place]] for name, place in its.positions.items()})
    one, other = truths
    if one.keys() != other.keys():
        apart = one.keys() ^ other.keys()
        example = next(name for truth in truths for name in truth if name in apart)
        where = names[0] if example in one else names[1]
        raise UserError(
            f"{names[0]} and {names[1]} have different test rows: {len(apart)} ids are in one alone, as {example!r} in "
            f"{where}; evaluate both on the same rows and with the same --train, whose texts are left out"
        )
    changed = [name for name, topic in one.items() if other[name] != topic]
    if changed:
        raise UserError(
            f"{names[0]} and {names[1]} have different topics: the row {changed[0]!r} is {one[changed[0]]!r} in one, "
            f"{other[changed[0]]!r} in the other ({len(changed)} rows differ); evaluate both on the same rows"
        )


def _compared(one: LabelledPredictions, other: LabelledPredictions, names: tuple[str, str]) -> Comparison:
    drawn = [_resampled(its) for its in (one, other)]
    values = [measure_skew(its).metrics for its in (one, other)]
    right = [its.decided == its.true for its in (one, other)]
    p_accuracy = mcnemar(*right)
    metrics = []
    for name in [*METRIC_TITLES]:
        a, b = values[0].get(name), values[1].get(name)
        if a is None or b is None or name not in drawn[0] or name not in drawn[1]:
            continue
        low, high = interval_of([b - a], (drawn[1][name] - drawn[0][name])[None])
        p = p_accuracy if name == "accuracy" else None
        apart = p < 0.05 if p is not None else low > 0 or high < 0
        metrics.append(
            ComparedMetric(name=name, a=a, b=b, difference=b - a, interval=[low, high], p=p, significant=apart)
        )
    topics = _topics(one, right)
    counts = [int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())]
    return Comparison(runs=list(names), rows=len(one.true), right_in_one_alone=counts, metrics=metrics, topics=topics)


def _topics(joined: LabelledPredictions, right: list[Tensor]) -> list[ComparedTopic]:
    found: list[dict[str, Any]] = []
    for place, name in enumerate(joined.topics.names):
        own = joined.true == place
        if own.any():
            recall = [its[own].double().mean().item() for its in right]
            found.append({"topic": name, "rows": int(own.sum()), "a": recall[0], "b": recall[1],
                          "p": mcnemar(right[0][own], right[1][own])})  # fmt: skip
    corrected = holm({its["topic"]: its["p"] for its in found})
    return [ComparedTopic(**{**its, "p": corrected[its["topic"]]}) for its in found]


def mcnemar(one: Tensor, other: Tensor) -> float:
    """Two-sided exact p that as many rows (n,) are right in only one run as in only the other (McNemar 1947)."""
    alone, other_alone = int((one & ~other).sum()), int((~one & other).sum())
    return float(binomtest(alone, alone + other_alone).pvalue) if alone + other_alone else 1.0


def _resampled(joined: LabelledPredictions) -> Mapping[str, Tensor]:
    """The resampled values (B,) of every metric."""
    if (joined.decided == len(joined.topics)).any():
        raise UserError("some predictions name a topic that the labels lack; compare runs that decide every row")
    rows = len(joined.true)
    test = TestRows([], joined.topics, joined.true.tolist(), [])
    known = not (joined.own.isnan() | joined.confidence.isnan()).any()
    run = {
        "metrics": {"accuracy": 0.0},
        "decisions": joined.decided.tolist(),
        "nll": (-joined.own.clamp(min=torch.finfo(torch.float32).tiny).log()).tolist() if known else None,
        "confidence": joined.confidence.tolist(),
        "rows": {},
    }
    found = Resampler(test, max(200, min(RESAMPLES, MOST_DRAWN // rows))).metrics({0: run})[0]
    return found if joined.trained else {name: its for name, its in found.items() if name not in OF_TRAINING}
