"""A thread that owns a model and answers waiting requests; batches form by themselves while the model is busy.

Knows the pipeline and tickets; knows no HTTP. All waiting texts go through stage 1 together, whatever their options.
Outputs are written a window at a time, and requests take turns row by row, so that a long request does not delay a
short one. A failing batch is bisected to the failing row; only its request fails.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from http import HTTPStatus
from typing import Any, TypeVar

import torch

from ..balance import target_of_rows
from ..decoder import GenerationSettings
from ..pipeline import HARMLESS_TEXT, DecidedRow, HybridPipeline
from .problems import RequestError, problem_of
from .ticket import Ask, AskedPrior, Ticket

log = logging.getLogger("unskew")

Item = TypeVar("Item")
CPU_WINDOW, GPU_WINDOW = (
    64,
    256,
)  # outputs written together; more would hardly help, and the next request would wait longer
KEPT_PRIORS = 16  # a decision that is tuned on held-out rows takes seconds for a new target prior
# Seconds to wait for clients that send their next request at once; otherwise every other batch would have a single
# request.
RETURN_SECONDS = 0.005


@dataclass(frozen=True)
class _Row:
    """A text of a ticket; after stage 1, with the topic to write under."""

    ticket: Ticket
    index: int
    topic: str = ""

    @property
    def text(self) -> str:
        return self.ticket.ask.texts[self.index]


class Worker:
    """Answers tickets with a pipeline, in its own thread.

    Args:
        pipeline: Pipeline of both stages, or of the first alone.
        most_waiting: Most texts that may be unanswered.
    """

    def __init__(self, pipeline: HybridPipeline, most_waiting: int) -> None:
        self._pipeline = pipeline
        self._most_waiting = most_waiting
        self._with_prior = lru_cache(KEPT_PRIORS)(
            lambda key: pipeline.with_target_prior(dict(key) if isinstance(key, tuple) else key)
        )
        self._on_batch: Callable[[str, int], None] = lambda *_: None
        self._arrived: deque[Ticket] = deque()
        self._taken: list[Ticket] = []  # in work, or waiting for stage 2
        self._to_write: list[_Row] = []
        self._changed = threading.Condition()
        self._stopping = self._failed = False
        self._answered = 0  # number of requests in the last batch, and the time of their answer
        self._answered_at = 0.0
        self._window = CPU_WINDOW if pipeline.encoder.model.device.type == "cpu" else GPU_WINDOW
        self._thread = threading.Thread(target=self._run, name="unskew-worker", daemon=True)
        self.fault: str | None = None  # set if the model itself is broken: a known-good text fails too

    def start(self, on_batch: Callable[[str, int], None]) -> None:
        """Start the thread; `on_batch` is called with the stage ("encoder", "decoder") and the rows of each batch."""
        self._on_batch = on_batch
        self._thread.start()

    def stop(self) -> None:
        """Answer the waiting requests, then end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    @property
    def waiting(self) -> int:
        """Number of texts that are not answered yet, those in work included."""
        return sum(ticket.unanswered for ticket in (*self._taken, *self._arrived))

    @property
    def alive(self) -> bool:
        """Whether the worker can answer tickets."""
        return self._thread.is_alive() and self.fault is None

    def submit(self, ticket: Ticket) -> None:
        """Queue a ticket.

        Raises:
            RequestError: If too many texts wait already, the worker has failed, or the server is shutting down.
        """
        with self._changed:
            if self._stopping:
                raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "the server is shutting down; try another")
            if self._failed:
                raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "the model has failed; restart the server")
            if self.waiting + len(ticket.ask.texts) > self._most_waiting:
                raise RequestError(
                    HTTPStatus.SERVICE_UNAVAILABLE, f"{self.waiting} texts wait already; try again later"
                )
            self._arrived.append(ticket)
            self._changed.notify()

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # a fault of ours: nobody else would answer
            self.fault = type(error).__name__
            log.error("the server's worker has failed (%s: %s); restart the server", self.fault, error)
            with self._changed:
                self._failed = True
                for ticket in (*self._taken, *self._arrived):
                    ticket.fail(problem_of(error))

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._arrived or self._to_write or self._stopping)
                self._wait_for_returning()
                tickets = [ticket for ticket in self._arrived if ticket.wanted]
                self._taken = [*(ticket for ticket in self._taken if ticket.wanted), *tickets]
                self._arrived.clear()
                if self._stopping and not (tickets or self._to_write):
                    return
            self._classify(tickets)
            self._write()
            self._answered, self._answered_at = sum(ticket.ended for ticket in self._taken), time.monotonic()

    def _wait_for_returning(self) -> None:
        """Wait for a moment until as many requests have arrived as were just answered; a lone client never waits."""
        left = self._answered_at + RETURN_SECONDS - time.monotonic()
        if left > 0:
            self._changed.wait_for(lambda: len(self._arrived) >= self._answered or self._stopping, left)

    def _classify(self, tickets: Sequence[Ticket]) -> None:
        """Run stage 1 over the rows of all tickets, and decide each ticket's rows."""
        rows = [_Row(ticket, index) for ticket in tickets for index in range(len(ticket.ask.texts))]
        if not rows:
            return
        self._on_batch("encoder", len(rows))
        found = iter(self._each(self._logits, rows))
        alike: dict[Any, list[tuple[Ticket, torch.Tensor]]] = {}
        for ticket in tickets:
            own = [next(found) for _ in ticket.ask.texts]
            fault = next((i for i, logits in enumerate(own) if isinstance(logits, BaseException)), None)
            if fault is None:
                alike.setdefault(_way_of_deciding(ticket), []).append((ticket, torch.stack(own)))
            else:
                ticket.fail(problem_of(own[fault], fault + 1))
        for group in alike.values():
            self._decide_alike([ticket for ticket, _ in group], [logits for _, logits in group])

    def _decide_alike(self, tickets: Sequence[Ticket], logits: Sequence[torch.Tensor]) -> None:
        """Decide tickets with equal options together, because much of the work is the same for one row and for many."""
        try:
            pipeline = self._aimed(tickets[0].ask, logits[0])
            options = tickets[0].ask.options
            sets = None if options.sets is None else pipeline.corrector.sets(options.sets, options.sets_kind)
            decided = iter(pipeline.decide(torch.cat(list(logits)), options, sets))
        except Exception as error:
            for ticket in tickets:
                ticket.fail(problem_of(error))
            return
        for ticket, own in zip(tickets, logits, strict=True):
            try:
                self._take(ticket, pipeline, [next(decided) for _ in own], own)
            except Exception as error:  # for this ticket alone
                ticket.fail(problem_of(error))

    def _logits(self, rows: Sequence[_Row]) -> list[Any]:
        return list(self._finite_logits([row.text for row in rows]))

    def _finite_logits(self, texts: Sequence[str]) -> torch.Tensor:
        logits = self._pipeline.encoder.logits(texts)
        if not logits.isfinite().all():
            raise FloatingPointError("the encoder gives NaN or infinite numbers")
        return logits

    def _take(
        self, ticket: Ticket, pipeline: HybridPipeline, decided: Sequence[DecidedRow], logits: torch.Tensor
    ) -> None:
        """Give a ticket its decisions, and queue its rows for writing."""
        ask, results = ticket.ask, [own.result for own in decided]
        natural = pipeline.corrector.calibrated_log_probs(logits).tolist() if ask.log_probabilities else []
        ticket.decide(results, natural, pipeline.corrector.target)
        for index, own in enumerate(decided):
            topic = ask.topics[index] or own.write_under
            if ask.write and topic is not None and pipeline.decoder is not None:
                self._to_write.append(_Row(ticket, index, topic))
            else:
                ticket.finish(index, None)

    def _aimed(self, ask: Ask, logits: torch.Tensor) -> HybridPipeline:
        prior = ask.target_prior
        if prior is None:
            return self._pipeline
        if prior in ("adaptive", "estimate"):
            # Errors from held-out rows take seconds, and an answer does not contain them.
            shares = target_of_rows(prior, replace(self._pipeline.corrector, rows=None), logits).shares
            return self._pipeline.with_target_prior(shares)
        return self._with_prior(_key_of(prior))

    def _write(self) -> None:
        """Run stage 2 over one window of rows with equal options; each ticket's first row precedes any second row."""
        self._to_write = [row for row in self._to_write if row.ticket.wanted]
        if not self._to_write:
            return
        first = _way_of_writing(self._to_write[0])
        alike = sorted((row for row in self._to_write if _way_of_writing(row) == first), key=lambda row: row.index)
        window = alike[: self._window]
        taken = {id(row) for row in window}
        self._to_write = [row for row in self._to_write if id(row) not in taken]
        self._on_batch("decoder", len(window))
        for row, output in zip(window, self._each(self._outputs, window), strict=True):
            if isinstance(output, BaseException):
                row.ticket.fail(problem_of(output, row.index + 1))
            elif row.ticket.wanted:
                row.ticket.finish(row.index, output)

    def _outputs(self, rows: Sequence[_Row]) -> list[str]:
        decoder = self._pipeline.decoder
        assert decoder is not None

        def watch(place: int, ids: Sequence[int]) -> bool:
            row = rows[place]
            if row.ticket.ask.streamed and row.ticket.wanted:
                row.ticket.grow(row.index, decoder.text_of(ids))
            return row.ticket.wanted

        options = rows[0].ticket.ask.options
        texts, topics = [row.text for row in rows], [row.topic for row in rows]
        return self._pipeline.write(texts, topics, options.generation, options.fairness, watch)

    def _each(self, work: Callable[[Sequence[Item]], list[Any]], items: Sequence[Item]) -> list[Any]:
        """The result of `work` for each item; an exception for an item that fails alone."""
        try:
            return work(items)
        except BaseException as error:  # a panic in the tokenizers' Rust code is not an `Exception`
            if len(items) == 1:
                self._look_for_fault()
                return [error]
        middle = len(items) // 2  # outside the handler, because its error keeps memory alive
        return [*self._each(work, items[:middle]), *self._each(work, items[middle:])]

    def _look_for_fault(self) -> None:
        """Check whether the models fail on a harmless text, so that /health reports a broken GPU."""
        pipeline = self._pipeline
        try:
            self._finite_logits([HARMLESS_TEXT])
            if pipeline.decoder is not None:
                pipeline.write([HARMLESS_TEXT], pipeline.topics.names[:1], GenerationSettings(max_new_tokens=1))
        except BaseException as error:  # as in `_each`
            self.fault = type(error).__name__
            log.error("the model fails on a harmless text too (%s: %s); restart the server", self.fault, error)
        else:
            self.fault = None


def _way_of_writing(row: _Row) -> tuple[Any, ...]:
    options = row.ticket.ask.options
    return options.generation, options.fairness


def _way_of_deciding(ticket: Ticket) -> Any:
    """Equal for tickets to decide together; unique if the prior is estimated from the ticket's own rows."""
    prior = ticket.ask.target_prior
    if prior in ("adaptive", "estimate"):
        return ticket
    return ticket.ask.options, _key_of(prior)


def _key_of(prior: AskedPrior) -> Any:
    return tuple(prior.items()) if isinstance(prior, dict) else prior
