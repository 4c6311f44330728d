"""Turns tickets into answers, as JSON or server-sent events. Knows no HTTP server and no model."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from .problems import RequestError
from .ticket import Ask, Event, Ticket
from .worker import Worker


class Listener:
    """A ticket that a worker's thread answers and an event loop awaits.

    Args:
        ask: The request.
        worker: The worker, which gets the ticket at once.

    Raises:
        RequestError: If the worker accepts no more tickets.
    """

    def __init__(self, ask: Ask, worker: Worker) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self.ticket = Ticket(ask, self._tell)
        worker.submit(self.ticket)

    async def answered(self) -> None:
        """Wait until the ticket has ended.

        Raises:
            RequestError: If it has failed.
        """
        async for _ in self.events():
            pass

    async def events(self, seconds: float | None = None) -> AsyncIterator[Event]:
        """Yield the ticket's events until its end.

        Args:
            seconds: How long the ticket may take; a reader who is slow to take events is not counted.

        Raises:
            RequestError: If it has failed.
            TimeoutError: If it has taken longer.
        """
        deadline = None if seconds is None else self._loop.time() + seconds
        while True:
            async with asyncio.timeout_at(deadline):
                event = await self._events.get()
            if event[0] != "end":
                yield event
                continue
            if isinstance(event[1], RequestError):
                raise event[1]
            return

    def _tell(self, event: Event) -> None:
        try:
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)
        except RuntimeError:  # the event loop has ended, and with it the listener
            self.ticket.cancelled = True


def prediction(ticket: Ticket, row: int) -> dict[str, Any]:
    """The prediction for a row, as plain values."""
    values = ticket.results[row].to_dict()
    if ticket.ask.topics[row] is not None:
        values["forced_topic"] = ticket.ask.topics[row]
    if ticket.log_probabilities:
        values["log_probabilities"] = ticket.log_probabilities[row]
    return values


def answer(ticket: Ticket, model: str, topics: tuple[str, ...]) -> dict[str, Any]:
    """The complete answer, as plain values."""
    return {
        "model": model,
        "results": [prediction(ticket, row) for row in range(len(ticket.results))],
        **_estimated(ticket, topics),
    }


def event_bytes(name: str, values: dict[str, Any]) -> bytes:
    """A server-sent event whose data is JSON."""
    return f"event: {name}\ndata: {to_json(values)}\n\n".encode()


def event_of(event: Event, ticket: Ticket, topics: tuple[str, ...]) -> bytes:
    """A ticket's event as a server-sent event."""
    kind, told = event
    if kind == "text":
        return event_bytes(kind, {"row": told[0] + 1, "text": told[1]})
    estimated = _estimated(ticket, topics) if told == 0 and kind == "topics" else {}
    return event_bytes(kind, {"row": told + 1, **prediction(ticket, told), **estimated})


def to_json(values: Any) -> str:
    """Compact JSON that can be encoded in UTF-8."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace").decode()


def _estimated(ticket: Ticket, topics: tuple[str, ...]) -> dict[str, Any]:
    if ticket.ask.target_prior not in ("adaptive", "estimate"):
        return {}
    return {"target_prior": dict(zip(topics, ticket.prior, strict=True))}
