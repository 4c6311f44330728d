"""Predicts one shard: every row becomes a result, or an error with its reason, whatever it does to the models.

Knows only the pipeline's call; knows no files. A window that fails is bisected to the failing row.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ..corpus import BadRow, LocatedRow, Record, place_of
from ..pipeline import PredictOptions
from .bisection import Failure, NotFiniteError, bisected, raise_if_it_stops
from .encoding import SET, Layout, Row, encode, encode_lines
from .report import Meter

if TYPE_CHECKING:  # the models' libraries take seconds to load
    from ..pipeline import Result

log = logging.getLogger("unskew")

OnRow = Callable[[int, int, str | None], None]


# The part of `HybridPipeline` that a job needs: called with texts and options, it yields a result for each text, in
# order.
Predictor = Callable[..., "Iterator[Result]"]


@dataclass(frozen=True)
class Shard:
    """Consecutive rows of the input, the unit of work; `index` counts from 0."""

    index: int
    rows: list[LocatedRow]


@dataclass(frozen=True)
class ShardResult:
    """The contents of a shard's files.

    Attributes:
        index: Index of the shard.
        rows: Number of rows in `content`.
        errors: Number of rows in `bad`.
        first_bad: Place and reason of the first error.
        content: Encoded result rows.
        bad: Encoded error rows; empty without any.
        topics: Number of rows for each most probable topic.
        undecided: Rows without a topic.
        cost: Cost from a `Meter`; empty if not known.
    """

    index: int
    rows: int
    errors: int
    first_bad: str | None
    content: bytes
    bad: bytes
    topics: dict[str, int] = field(default_factory=dict)
    undecided: int = 0
    cost: dict[str, Any] = field(default_factory=dict)


def predict_shard(
    pipeline: Predictor, shard: Shard, options: PredictOptions, layout: Layout, on_row: OnRow | None = None
) -> ShardResult:
    """Run the pipeline over a shard.

    Args:
        pipeline: Pipeline of both stages.
        shard: Shard to predict.
        options: Options of the pipeline's call.
        layout: Layout of the result rows.
        on_row: Function called after each row with its numbers of results and errors (0 or 1), and the reason of an
            error.

    Raises:
        UserError: If the pipeline gives numbers that are not finite even for a harmless text.
        Exception: If the pipeline fails on a harmless text too; its own error.
    """
    meter = Meter(pipeline)
    good: list[Row] = []
    bad: list[Row] = []
    first_bad = None
    texts = [row.text for row, _, _ in shard.rows if not isinstance(row, BadRow)]
    answers = answer_texts(pipeline, texts, options)
    for row, file, line in shard.rows:
        answer = Failure(row.reason) if isinstance(row, BadRow) else next(answers)
        reason = None
        if isinstance(answer, Failure):
            reason = f"{place_of(BadRow(line, answer.reason, row.id, file))}: {answer.reason}"
            first_bad = first_bad or reason
            bad.append({"id": row.id, "line": line, "file": file, "reason": answer.reason})
        else:
            good.append(
                {
                    "id": row.id,
                    "topic": answer.topic,
                    "confidence": answer.confidence,
                    "topics": answer.topics,
                    "output": answer.output,
                    **({SET: list(answer.topic_set or ())} if layout.sets else {}),
                    **{name: (row.kept or {}).get(name) for name in layout.keep if isinstance(row, Record)},
                }
            )
        if on_row is not None:
            on_row(reason is None, reason is not None, reason)
    topics, undecided = topics_of(good)
    content = encode(good, layout)
    return ShardResult(
        shard.index, len(good), len(bad), first_bad, content, encode_lines(bad), topics, undecided, meter.cost()
    )


def topics_of(rows: Sequence[Row]) -> tuple[dict[str, int], int]:
    """The number of result rows for each most probable topic, and the number of undecided rows."""
    topics = Counter(next(iter(row["topics"])) for row in rows if row["topics"])
    return dict(topics), sum(not row["topic"] for row in rows)


def answer_texts(pipeline: Predictor, texts: Sequence[str], options: PredictOptions) -> "Iterator[Result | Failure]":
    """A result or a failure for each text, in order, with the same windows as in one call over all texts."""
    done = 0
    while done < len(texts):
        try:
            for result in pipeline(texts[done:], **vars(options)):
                yield _checked(result)
                done += 1
            _check_count(done, len(texts))
        except BaseException as error:
            raise_if_it_stops(error)
            # The pipeline may read ahead, so another window may be at fault; this one then passes whole.
            stop = min(len(texts), (done // options.window + 1) * options.window)
            for part in bisected(partial(_tried, pipeline, options), texts[done:stop]):
                if isinstance(part, Failure):
                    log.warning("a row was set apart: %s", part.reason)
                yield from [part] if isinstance(part, Failure) else part
            done = stop


def _tried(pipeline: Predictor, options: PredictOptions, texts: Sequence[str]) -> "list[Result]":
    results = [_checked(result) for result in pipeline(texts, **vars(options))]
    _check_count(len(results), len(texts))
    return results


def _checked(result: "Result") -> "Result":
    if not math.isfinite(result.confidence):
        raise NotFiniteError(f"the confidence is {result.confidence}, not a number")
    return result


def _check_count(found: int, expected: int) -> None:
    if found != expected:
        raise ValueError(f"{found} results for {expected} texts")
