"""One shard answered: every row ends as a result or as an error with its reason, whatever a row does to the models.

Knows the pipeline by its call alone, and no files. A window of rows that fails is halved until the row at fault is
alone. Whether a row is at fault, and not a broken GPU or a bug that every row would meet, a harmless text tells: if
that fails too, the fault is raised and no row is blamed. Else the row is tried again, for the fault may have passed.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..common import UserError
from ..corpus import BadRow, Located, Record
from ..pipeline import HARMLESS, PredictOptions
from .encoding import SET, Layout, Row, encode, encode_lines
from .report import Meter

if TYPE_CHECKING:  # the models' libraries take seconds to load
    from ..pipeline import Result

log = logging.getLogger("unskew")

_LONGEST_REASON = 500

OnRow = Callable[[int, int, str | None], None]


# What a job needs of `HybridPipeline`: called with texts and options, it yields a result for each text, in order.
Predictor = Callable[..., "Iterator[Result]"]


@dataclass(frozen=True)
class Shard:
    """Consecutive rows of the input, the unit of work; `index` counts from 0."""

    index: int
    rows: list[Located]


@dataclass(frozen=True)
class ShardResult:
    """What a shard's files will hold.

    Attributes:
        index: Index of the shard.
        rows: Rows in `content`.
        errors: Rows in `bad`.
        first_bad: Place and reason of the first of them.
        content: Result rows, encoded.
        bad: Error rows, encoded; empty without any.
        topics: Rows of each most probable topic.
        undecided: Rows without a topic.
        cost: As measured by a `Meter`; empty where it is not known.
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
    """What to say where a harmless text fails so."""
    return UserError(f"{error}, for a harmless text too: it is the system that is broken and no row; fit it again")


@dataclass(frozen=True)
class Failure:
    """A row that the pipeline could not process, and why."""

    reason: str


def predict_shard(
    pipeline: Predictor, shard: Shard, options: PredictOptions, layout: Layout, on_row: OnRow | None = None
) -> ShardResult:
    """Run the pipeline over a shard.

    Args:
        pipeline: Both stages.
        shard: Its rows.
        options: Options of the pipeline's call.
        layout: Layout of the result rows.
        on_row: Called after each row with the results and errors it gave (0 or 1 each), and the reason of an error.

    Raises:
        UserError: If the pipeline gives no numbers for a harmless text either.
        Exception: What the pipeline raises on a harmless text too.
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
    """How many result rows have each most probable topic, and how many are undecided."""
    topics = Counter(next(iter(row["topics"])) for row in rows if row["topics"])
    return dict(topics), sum(not row["topic"] for row in rows)


def answer_texts(pipeline: Predictor, texts: Sequence[str], options: PredictOptions) -> "Iterator[Result | Failure]":
    """A result or a failure for each text, in order; windows are those of one call over all of them."""
    done = 0
    while done < len(texts):
        try:
            for result in pipeline(texts[done:], **vars(options)):
                yield _checked(result)
                done += 1
            _check_count(done, len(texts))
        except BaseException as error:
            _raise_unless_a_rows(error)
            # The pipeline may read ahead: the window at fault need not be this one, which then passes whole.
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
    """What becomes of a single text that failed. Out of the handler of its error, which holds on to memory."""
    try:
        _tried(pipeline, [HARMLESS], options)
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
        raise NotFiniteError(f"the confidence is {result.confidence} and not a number")
    return result


def _check_count(found: int, expected: int) -> None:
    if found != expected:
        raise ValueError(f"{found} results for {expected} texts")


def _raise_unless_a_rows(error: BaseException) -> None:
    """Pass on what means "stop"; a panic of the tokenizers' Rust is no `Exception`, but it is a row's."""
    if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
        raise error
