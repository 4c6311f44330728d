"""A request on its way through a model: the request, its results so far, and its listener.

Knows results, but neither models nor HTTP. A worker's thread fills it in and reports events to another thread.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..balance import TargetPrior
from ..pipeline import PredictOptions, Result
from .problems import RequestError

AskedPrior = TargetPrior | Literal["adaptive", "estimate"] | None
Event = tuple[Literal["topics", "text", "result", "end"], Any]
ProgressCallback = Callable[[Event], None]


@dataclass(frozen=True)
class Ask:
    """What a client asks of a model.

    Attributes:
        texts: At least one text.
        options: Options of a prediction.
        target_prior: The target prior; "adaptive" and "estimate" take it from these texts, None is the system's own.
        topics: A forced topic for each text; None leaves the topic to stage 1.
        write: Whether outputs are written.
        streamed: Whether each result is reported at once, not only the end.
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
        ask: The request.
        tell: Function called in the worker's thread with each event; the last is ("end", a `RequestError` or None).

    Attributes:
        results: A result for each text after stage 1; its output is added when it is written.
        log_probabilities: Calibrated log-probabilities under the training prior, C for each text, if they are kept.
        prior: Target prior of the answer (C,).
        ended: Whether the last event was sent.
        cancelled: Whether the client no longer wants the answer; set by the client's side.
    """

    def __init__(self, ask: Ask, tell: ProgressCallback) -> None:
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
        """Whether the answer is still wanted."""
        return not (self.ended or self.cancelled)

    @property
    def unanswered(self) -> int:
        """Number of texts whose answers are still wanted."""
        return self._left if self.wanted else 0

    def decide(self, results: Sequence[Result], log_probabilities: list[list[float]], prior: tuple[float, ...]) -> None:
        """Store the results of stage 1."""
        self.results, self.log_probabilities, self.prior = list(results), log_probabilities, prior
        for row in range(len(results)):
            self._say(("topics", row))

    def grow(self, row: int, text: str) -> None:
        """Report the new part of a row's output. An incomplete character waits for its rest."""
        if not text.endswith("\ufffd"):
            self._tell_text(row, text)

    def finish(self, row: int, output: str | None) -> None:
        """Store a row's output; None if it gets none."""
        self._tell_text(row, output or "")
        self.results[row] = replace(self.results[row], output=output)
        self._say(("result", row))
        self._left -= 1
        if self._left == 0:
            self._end(None)

    def fail(self, problem: RequestError) -> None:
        """End the ticket with an error."""
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
