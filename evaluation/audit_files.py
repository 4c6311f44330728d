"""Reads the files of an audit: labels by id, training counts, and numbered rows of any file.

Knows files and columns, but no predictions and no metric. The ids of a million labels take about a hundred megabytes.
"""

import json
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..common import UserError
from ..corpus import BadRow, RawRow, Source, as_label, check_usable, place_of, read_rows, source_files

MOST_ROWS = 2**53  # rows of a topic; a larger number cannot be a count of rows


@dataclass(frozen=True)
class AuditColumns:
    """Names of the columns.

    Attributes:
        id: The id in predictions and labels; a row without one gets its number, counted from 1.
        topic: The predicted topic in predictions.
        topics: The probabilities in predictions: {topic: probability} of all topics or the most probable ones.
        label: The true topic in labels.
        label_id: The id in labels, if its column has another name than in predictions.
        train: The topic in training rows.
    """

    id: str = "id"
    topic: str = "topic"
    topics: str = "topics"
    label: str = "topic"
    label_id: str | None = None
    train: str = "topic"


@dataclass(frozen=True)
class Labels:
    """True topics: `positions[id]` is a row's place in `topics`, a list of indices into `names`."""

    positions: dict[str, int]
    topics: array
    names: list[str]
    left_out: int


def read_labels(source: Source, columns: AuditColumns) -> Labels:
    """True topics by id.

    Raises:
        UserError: As `join`.
    """
    key = columns.label_id or columns.id
    required = {columns.label: "columns.label"}
    if key != "id":
        required[key] = "columns.label_id"
    positions: dict[str, int] = {}
    index: dict[str, int] = {}
    topics = array("q")
    unusable = Unusable()
    for number, file, row in numbered_rows(source, [key, columns.label], required):
        try:
            values = values_of(row)
            identity = as_label(values, key) or str(number)
            topic = as_label(values, columns.label)
            if topic is None:
                raise ValueError(f"no topic in the column {columns.label!r}")
        except ValueError as problem:
            unusable.add(row, file, str(problem))
            continue
        if identity in positions:
            raise UserError(
                f"{file}, line {row.line}: the id {identity!r} occurs twice among the labels; ids must differ"
            )
        positions[identity] = len(topics)
        topics.append(index.setdefault(topic, len(index)))
    unusable.check(len(topics))
    if not topics:
        raise UserError(f"{source} has no labels; give rows with an id and a topic")
    return Labels(positions, topics, list(index), unusable.rows)


def read_counts(source: Source, column: str) -> Counter[str]:
    """Number of training rows of each topic, from rows with a topic or one JSON object {topic: count}.

    Raises:
        UserError: As `join`.
    """
    counts = _stored_counts(source)
    if counts is not None:
        return counts
    counts, unusable = Counter(), Unusable()
    for _, file, row in numbered_rows(source, [column], {column: "columns.train"}):
        try:
            topic = as_label(values_of(row), column)
            if topic is None:
                raise ValueError(f"no topic in the column {column!r}")
            counts[topic] += 1
        except ValueError as problem:
            unusable.add(row, file, str(problem))
    unusable.check(counts.total())
    if not counts:
        raise UserError(f"{source} has no training rows; give rows with a topic, or a JSON object {{topic: count}}")
    return counts


def _stored_counts(source: Source) -> Counter[str] | None:
    files = source_files(source)
    if [file.suffix for file in files] != [".json"]:
        return None
    try:
        stored = json.loads(files[0].read_bytes())
    except (OSError, ValueError, RecursionError):
        return None  # it may be JSON lines; their reader reports errors
    if not isinstance(stored, dict) or any(type(count) is not int or count < 0 for count in stored.values()):
        return None
    for topic, count in stored.items():
        if count > MOST_ROWS:
            raise UserError(f"{files[0]}: {topic!r} has {len(str(count))} digits of rows; give the number of its rows")
    return Counter(stored)


class Unusable:
    """Counts the rows of a file that cannot be used, and keeps the first."""

    def __init__(self) -> None:
        self.rows, self.first = 0, ""

    def add(self, row: RawRow, file: str, reason: str) -> None:
        """Count one."""
        self.rows += 1
        self.first = self.first or f"{place_of(BadRow(row.line, reason, None, file))}: {reason}"

    def check(self, usable: int) -> None:
        """Raise a UserError if so many rows are unusable that something else must be wrong."""
        check_usable(self.rows, usable, self.first)


def values_of(row: RawRow) -> Mapping[str, Any]:
    """The columns of a row; raises a ValueError for a broken one."""
    if row.values is None:
        raise ValueError(row.reason)
    return row.values


def numbered_rows(source: Source, wanted: list[str], required: Mapping[str, str]) -> Iterator[tuple[int, str, RawRow]]:
    """Yield (number from 1 across all files, file, row), broken rows too; raises if `required` columns are missing."""
    files = source_files(source)
    if not files:
        raise UserError(f"{source} does not name a file; give JSONL, CSV or Parquet files")
    number = 0
    for file in files:
        for row in read_rows(file, wanted, required):
            number += 1
            yield number, str(file), row
