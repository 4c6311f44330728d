"""Any system's predictions and their labels, joined by id.

Knows ids, topics and probabilities in files, but no model and no metric. Predictions are streamed.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..common import UserError
from ..corpus import Source, Topics, as_label
from .audit_files import AuditColumns, Labels, Unusable, numbered_rows, read_counts, read_labels, values_of

ROUNDING = 0.01  # largest distance from 1 of the sum of written probabilities


@dataclass(frozen=True)
class LabelledPredictions:
    """Predicted and true topics of the n rows that have both.

    Attributes:
        topics: C topics, most frequent first: the topics of training set and labels with their training counts, or
            without a training set the topics of the labels with their rows.
        trained: Whether the counts are from a training set.
        true: True topic (n,) int64.
        decided: Predicted topic (n,) int64; C if it is missing or unknown.
        own: Probability (n,) float64 of the true topic; nan without probabilities.
        confidence: Probability (n,) float64 of the predicted topic; nan without probabilities.
        counts: Number of rows (or topics) with each problem, see `PROBLEMS`.
        examples: The first row (or topic) of each problem.
    """

    topics: Topics
    trained: bool
    true: Tensor
    decided: Tensor
    own: Tensor
    confidence: Tensor
    counts: Counter[str]
    examples: dict[str, str]


PROBLEMS = {
    "untrained": "topics of the labels have no training row; they belong to the band few",
    "undecided": "predictions are undecided; they count as wrong",
    "unknown_topic": "predictions name a topic that neither labels nor training set have; they count as wrong",
    "unlabelled": "predictions have an id without a label; they are left out",
    "unpredicted": "labels have no prediction; they are left out",
    "unusable_labels": "rows of the labels cannot be used; they are left out",
    "unusable_predictions": "rows of the predictions cannot be used; they are left out",
    "bad_probabilities": "predictions have no usable probabilities; NLL and ECE leave them out",
    "not_most_probable": "decided topics are not the most probable one; decisions are measured as they are",
    "spread": "predictions name only their most probable topics; the rest of the probability is spread evenly over "
    "the unnamed ones, so NLL is approximate",
}
LEFT_OUT = ("unlabelled", "unpredicted", "unusable_labels", "unusable_predictions")


def join(predictions: Source, labels: Source, train: Source | None, columns: AuditColumns) -> LabelledPredictions:
    """Read and join.

    Raises:
        UserError: If a file or its columns cannot be read, an id occurs twice, no id is in both, or over a tenth of a
            file's rows cannot be used.
    """
    known = read_labels(labels, columns)
    topics = _topics(known, None if train is None else read_counts(train, columns.train))
    place = np.array([topics.index(name) for name in known.names])
    read = _Predictions(topics, place[np.frombuffer(known.topics, dtype=np.int64)])
    if untrained := [name for name in known.names if not topics.counts[topics.index(name)]]:
        if len(untrained) == len(known.names):
            spelling = "check whether topics have the same spelling in both"
            raise UserError(f"no topic of the labels ({untrained[0]!r}, ...) is in {train}; {spelling}")
        read.note("untrained", repr(untrained[0]), len(untrained))
    read.counts["unusable_labels"] = known.left_out
    _fill(read, predictions, known.positions, columns)
    seen = read.decided >= 0
    if not seen.any():
        theirs, ours = read.examples.get("unlabelled", "none"), next(iter(known.positions))
        remedy = "name the id columns"
        raise UserError(f"no id of the predictions ({theirs}, ...) is among the labels' ({ours!r}, ...); {remedy}")
    read.counts["unpredicted"] = int((~seen).sum())
    if not np.isnan(read.own).all() or "bad_probabilities" in read.examples:
        read.counts["bad_probabilities"] = int(np.isnan(read.own[seen]).sum())
    true, decided = torch.from_numpy(read.true[seen]), torch.from_numpy(read.decided[seen])
    own, confidence = torch.from_numpy(read.own[seen]), torch.from_numpy(read.confidence[seen])
    return LabelledPredictions(topics, train is not None, true, decided, own, confidence, read.counts, read.examples)


def _topics(labels: Labels, train: Counter[str] | None) -> Topics:
    rows = Counter({labels.names[index]: count for index, count in Counter(labels.topics).items()})
    counts = rows if train is None else Counter({**dict.fromkeys(rows, 0), **train})
    names = sorted(counts, key=lambda name: (-counts[name], name))
    return Topics(tuple(names), tuple(counts[name] for name in names))


def _fill(read: "_Predictions", source: Source, positions: Mapping[str, int], columns: AuditColumns) -> None:
    named = {"topic": columns.topic, "id": columns.id, "topics": columns.topics}
    required = {name: f"columns.{usual}" for usual, name in named.items() if name != usual or usual == "topic"}
    wanted, unusable = [columns.id, columns.topic, columns.topics], Unusable()
    for number, file, row in numbered_rows(source, wanted, required):
        try:
            values = values_of(row)
            identity = as_label(values, columns.id) or str(number)
        except ValueError as problem:
            unusable.add(row, file, str(problem))
            continue
        place = positions.get(identity)
        if place is None:
            read.note("unlabelled", repr(identity))
        elif read.decided[place] >= 0:
            where = f"{file}, line {row.line}"
            raise UserError(f"{where}: the id {identity!r} occurs twice among the predictions; ids must differ")
        else:
            topic = _decided(values, columns.topic)
            read.decide(place, identity, topic)
            read.believe(place, identity, topic, values.get(columns.topics))
    unusable.check(len(positions))
    read.counts["unusable_predictions"] = unusable.rows


class _Predictions:
    """Predicted topics and probabilities in the order (n,) of the labels, filled in as they are read."""

    def __init__(self, topics: Topics, true: np.ndarray) -> None:
        self.topics, self.true = topics, true
        self.decided = np.full(len(true), -1)
        self.own, self.confidence = np.full(len(true), math.nan), np.full(len(true), math.nan)
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def note(self, problem: str, example: str, rows: int = 1) -> None:
        self.counts[problem] += rows
        self.examples.setdefault(problem, example)

    def decide(self, place: int, identity: str, topic: str | None) -> None:
        if topic is not None and topic in self.topics:
            self.decided[place] = self.topics.index(topic)
            return
        self.decided[place] = len(self.topics)
        self.note("undecided" if topic is None else "unknown_topic", repr(identity if topic is None else topic))

    def believe(self, place: int, identity: str, topic: str | None, given: Any) -> None:
        if given is None or given == "":
            return
        try:
            named, rest = _probabilities(given, self.topics)
        except ValueError as problem:
            self.examples.setdefault("bad_probabilities", f"{identity!r}: {problem}")
            return
        true = self.topics.names[self.true[place]]
        self.own[place] = named.get(true, rest)
        if topic is not None and topic in self.topics:
            self.confidence[place] = named.get(topic, rest)
            if max(named.values(), default=0.0) > self.confidence[place]:
                self.note("not_most_probable", repr(identity))
        self.counts["spread"] += rest > 0 and true not in named


def _decided(values: Mapping[str, Any], column: str) -> str | None:
    try:
        return as_label(values, column)
    except ValueError:  # such as a list: a prediction, but not a topic
        return json.dumps(values[column], default=str)


def _probabilities(given: Any, topics: Topics) -> tuple[dict[str, float], float]:
    """Probabilities of the known topics that a row names, and the probability of each topic that it does not name.

    Raises:
        ValueError: If the values are not probabilities.
    """
    try:
        stored = json.loads(given) if isinstance(given, str) else given  # a CSV cell contains JSON
    except RecursionError:
        raise ValueError("the probabilities are nested too deep") from None
    if not isinstance(stored, Mapping):
        raise ValueError("the probabilities are not an object {topic: probability}")
    values = {str(name): value for name, value in stored.items() if value is not None}  # Parquet has nulls for the rest
    if not all(isinstance(value, int | float) and 0 <= value <= 1 + ROUNDING for value in values.values()):
        raise ValueError("a probability is not a number from 0 to 1")
    total = float(sum(values.values()))
    named = {name: float(value) for name, value in values.items() if name in topics}
    unnamed = len(topics) - len(named)
    if total > 1 + ROUNDING or (total < 1 - ROUNDING and not unnamed):
        raise ValueError(f"the probabilities sum to {total:.4g} instead of 1")
    if total > 1 or not unnamed:
        return {name: value / total for name, value in named.items()}, 0.0
    rest = (1 - total) / unnamed
    return named, rest if 1 - total > 1e-6 else 0.0
