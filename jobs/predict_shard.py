"""Predicts one shard: every row becomes a result, or an error with its reason, whatever it does to the models.

Knows only the pipeline's call; knows no files. A window that fails is bisected to the failing row. A harmless text then
tells a bad row from a broken GPU or a bug that affects every row: if it fails too, the error is raised and no row is
blamed. Otherwise the row is tried again, because the fault may have passed.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..common import UserError
from ..corpus import BadRow, LocatedRow, Record
from ..pipeline import HARMLESS_TEXT, PredictOptions
from .encoding import SET, Layout, Row, encode, encode_lines
from .report import Meter

if TYPE_CHECKING:  # the models' libraries take seconds to load
    from ..pipeline import Result

log = logging.getLogger("unskew")

_LONGEST_REASON = 500

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


class NotFiniteError(ValueError):
    """A model gave NaN or an infinite number."""


def broken_system(error: NotFiniteError) -> UserError:
    """The error to raise if a harmless text also gives numbers that are not finite."""
    return UserError(f"{error}, even for a harmless text: the system is broken, not a row; fit it again")


@dataclass(frozen=True)
class Failure:
    """A row that the pipeline could not process, and the reason."""

    reason: str


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
            reason = f"{file}, row {line}: {answer.reason}"
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
            _raise_unless_a_rows(error)
            # The pipeline may read ahead, so another window may be at fault; this one then passes whole.
            stop = min(len(texts), (done // options.window + 1) * options.window)
            yield from _halved(pipeline, texts[done:stop], options)
            done = stop


def _halved(pipeline: Predictor, texts: Sequence[str], options: PredictOptions) -> "Iterator[Result | Failure]":
    try:
        results = _tried(pipeline, texts, options)
    except BaseException as error:
        _raise_unless_a_rows(error)
        if len(texts) > 1:
            middle = len(texts) // 2
            yield from _halved(pipeline, texts[:middle], options)
            yield from _halved(pipeline, texts[middle:], options)
            return
        results = None
    yield from _once_more(pipeline, texts, options) if results is None else results


def _once_more(pipeline: Predictor, texts: Sequence[str], options: PredictOptions) -> "Sequence[Result | Failure]":
    """The result of retrying a single failed text, outside the handler of its error, which keeps memory in use."""
    try:
        _tried(pipeline, [HARMLESS_TEXT], options)
    except NotFiniteError as error:
        raise broken_system(error) from error
    try:
        return _tried(pipeline, texts, options)
    except BaseException as error:
        _raise_unless_a_rows(error)
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
        log.warning("a row was set apart: %s", reason)
        return [Failure(reason)]


def _tried(pipeline: Predictor, texts: Sequence[str], options: PredictOptions) -> "list[Result]":
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


def _raise_unless_a_rows(error: BaseException) -> None:
    """Raise errors that mean "stop". A panic in the tokenizers' Rust code is no `Exception`, but is a row's fault."""
    if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
        raise error
