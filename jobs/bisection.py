"""Bisects a batch of texts that fails to the failing texts. Knows a function of texts and its errors; knows no model.

A harmless text tells a bad text from a broken GPU or a bug that affects every text: if it fails too, the error is
raised and no text is blamed. Otherwise the text is tried again, because the fault may have passed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..common import UserError
from ..pipeline import HARMLESS_TEXT

_LONGEST_REASON = 500

Answer = TypeVar("Answer")


class NotFiniteError(ValueError):
    """A model gave NaN or an infinite number."""


@dataclass(frozen=True)
class Failure:
    """A text that could not be processed, and the reason."""

    reason: str


def bisected(work: Callable[[Sequence[str]], Answer], texts: Sequence[str]) -> Iterator[Answer | Failure]:
    """What `work` returns for all texts, or if it fails for parts of them, in order; a failure for each failing text.

    Raises:
        UserError: If `work` gives numbers that are not finite even for a harmless text.
        Exception: If `work` fails on a harmless text too; its own error.
    """
    try:
        answers = [work(texts)]
    except BaseException as error:
        raise_if_it_stops(error)
        answers = []  # the rest is outside the handler, because the error keeps memory in use
    if answers:
        yield answers[0]
    elif len(texts) > 1:
        middle = len(texts) // 2
        yield from bisected(work, texts[:middle])
        yield from bisected(work, texts[middle:])
    else:
        yield _once_more(work, texts)


def _once_more(work: Callable[[Sequence[str]], Answer], texts: Sequence[str]) -> Answer | Failure:
    try:
        work([HARMLESS_TEXT])
    except NotFiniteError as error:
        raise UserError(f"{error}, even for a harmless text: the system is broken, not a row; fit it again") from error
    try:
        return work(texts)
    except BaseException as error:
        raise_if_it_stops(error)
        return Failure(" ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON])


def raise_if_it_stops(error: BaseException) -> None:
    """Raise errors that mean "stop". A panic in the tokenizers' Rust code is no `Exception`, but is a row's fault."""
    if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
        raise error
