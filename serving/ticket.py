"""A request on its way through a model: what is asked, what is known of it, and whom to tell.

Knows results; knows neither models nor HTTP. A worker's thread fills it in, and what it tells is handed to another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..balance import TargetPrior
from ..pipeline import PredictOptions, Result
from .problems import RequestError

AskedPrior = TargetPrior | Literal["adaptive", "estimate"] | None
Event = tuple[Literal["topics", "text", "result", "end"], Any]
Tell = Callable[[Event], None]


@dataclass(frozen=True)
class Ask:
    """What a request wants of a model.

    Attributes:
        texts: At least one.
        options: As in every prediction.
        target_prior: To be right for; "adaptive" and "estimate" take it from these texts, None is the system's own.
        topics: For each text the topic to write under, whatever stage 1 says; None leaves it to stage 1.
        write: Whether outputs are written.
        streamed: Whether what becomes known is told at once, and not only that all is.
        log_probabilities: Whether all topics' calibrated log-probabilities are kept.
    """

    texts: tuple[str, ...]
    options: PredictOptions
    target_prior: AskedPrior
    topics: tuple[str | None, ...]
    write: bool = True
    streamed: bool = False
    log_probabilities: bool = False


class Ticket:
    """An `Ask` with its answer so far.

    Args:
        ask: What is wanted.
        tell: Called in the worker's thread with each event; the last is ("end", a `RequestError` or None).

    Attributes:
        results: One for each text once stage 1 has spoken, without outputs until these are written.
        log_probabilities: Calibrated, under the training prior: a list of C for each text, where they are kept.
        prior: The target prior of the answer (C,).
        ended: Whether nothing more will be told.
        cancelled: Set by whoever asked: the answer is not wanted any more.
    """

    def __init__(self, ask: Ask, tell: Tell) -> None:
        self.ask = ask
        self.results: list[Result] = []
        self.log_probabilities: list[list[float]] = []
        self.prior: tuple[float, ...] = ()
        self.ended = False
        self.cancelled = False
        self._tell = tell
        self._left = len(ask.texts)
        self._told = [""] * len(ask.texts)

    @property
    def wanted(self) -> bool:
        """Whether work on it makes sense."""
        return not (self.ended or self.cancelled)

    def decide(self, results: Sequence[Result], log_probabilities: list[list[float]], prior: tuple[float, ...]) -> None:
        """Stage 1 has spoken."""
        self.results, self.log_probabilities, self.prior = list(results), log_probabilities, prior
        for row in range(len(results)):
            self._say(("topics", row))

    def grow(self, row: int, text: str) -> None:
        """A row's output so far: what is new of it is told. Half a character waits for its other half."""
        if not text.endswith("\ufffd"):
            self._tell_text(row, text)

    def finish(self, row: int, output: str | None) -> None:
        """A row has its output, or gets none."""
        self._tell_text(row, output or "")
        self.results[row] = replace(self.results[row], output=output)
        self._say(("result", row))
        self._left -= 1
        if self._left == 0:
            self._end(None)

    def fail(self, problem: RequestError) -> None:
        """There will be no answer."""
        self._end(problem)

    def _tell_text(self, row: int, text: str) -> None:
        told = self._told[row]
        if text.startswith(told) and len(text) > len(told):
            self._told[row] = text
            self._say(("text", (row, text[len(told) :])))

    def _say(self, event: Event) -> None:
        if self.ask.streamed and self.wanted:
            self._tell(event)

    def _end(self, problem: RequestError | None) -> None:
        if not self.ended:
            self.ended = True
            self._tell(("end", problem))
