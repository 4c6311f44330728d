"""The HTTP interface: routes, errors as problem documents, streams. Knows tickets and workers; loads no bundle."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, StreamingResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from ..common import UserError, first_line
from .answers import Listener, answer, event_bytes, event_of, to_json
from .guard import CLIENT_GONE, Guard
from .metrics import ServerMetrics
from .page import page, policy
from .problems import MEDIA_TYPE, RequestError, problem_of, problem_of_validation
from .requests import PredictAnswer, PredictRequest, system_named
from .settings import ServingLimits
from .systemone import SystemOneRequest
from .systems import ServedSystem, library_versions
from .ticket import Ticket

log = logging.getLogger("unskew")

PROBLEM: dict[int | str, Any] = {"4XX": {"description": "A problem document (RFC 9457)", "content": {MEDIA_TYPE: {}}}}


def make_app(systems: Sequence[ServedSystem], limits: ServingLimits, metrics: ServerMetrics) -> FastAPI:
    """The application; its workers run from its start to its end.

    Args:
        systems: At least one system; the first answers requests that name none.
        limits: Limits on requests.
        metrics: Counters of the server.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        for system in systems:
            system.worker.start(partial(metrics.batch, system.name))
        yield
        for system in systems:
            await asyncio.to_thread(system.worker.stop)

    app = FastAPIOffline(
        redoc_url=None,
        title="unskew",
        version=library_versions()["unskew"],
        summary="Topics that do not copy label frequencies, and outputs written under them.",
        lifespan=lifespan,
    )
    app.add_middleware(Guard, seconds=limits.seconds, most_bytes=limits.body_bytes, ended=metrics.request)
    _add_errors(app)
    _add_predict(app, systems, limits, metrics)
    _add_system_one(app, systems, limits, metrics)
    _add_state(app, systems, limits, metrics)
    return app


def _add_errors(app: FastAPI) -> None:
    async def problem(request: Request, error: Exception) -> Response:
        return _as_response(problem_of(error))

    async def bug(request: Request, error: Exception) -> Response:
        log.error("a request failed: %s: %s", type(error).__name__, first_line(error))
        return _as_response(RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, f"a bug in unskew ({type(error).__name__})"))

    async def validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _as_response(problem_of_validation(error.errors()))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        detail = (
            "the body is not JSON in UTF-8; send a JSON object"
            if error.status_code == HTTPStatus.BAD_REQUEST
            else error.detail
        )
        response = _as_response(RequestError(error.status_code, detail))
        response.headers.update(error.headers or {})
        return response

    app.exception_handler(RequestError)(problem)
    app.exception_handler(UserError)(problem)
    app.exception_handler(Exception)(bug)
    app.exception_handler(RequestValidationError)(validation)
    app.exception_handler(HTTPException)(http)


def _add_predict(app: FastAPI, systems: Sequence[ServedSystem], limits: ServingLimits, metrics: ServerMetrics) -> None:
    @app.post("/predict", response_model=PredictAnswer, responses=PROBLEM, summary="Topics and outputs for texts")
    async def predict(asked: PredictRequest, request: Request) -> Response:
        system = system_named(systems, asked.model)
        listener = Listener(asked.ask(system, limits.rows), system.worker)
        names = system.pipeline.topics.names
        if asked.stream:
            return _EventStream(listener.ticket, _streamed(listener, system, limits, metrics))
        if not await _answered(listener, system, request, limits, metrics):
            return Response(status_code=CLIENT_GONE)
        return _json(answer(listener.ticket, system.name, names))


def _add_system_one(
    app: FastAPI, systems: Sequence[ServedSystem], limits: ServingLimits, metrics: ServerMetrics
) -> None:
    @app.post("/v1/systemone", responses=PROBLEM, summary="System One: a choice between trained topics")
    async def system_one(asked: SystemOneRequest, request: Request) -> Response:
        system = system_named(systems, asked.model)
        listener = Listener(asked.ask(system), system.worker)
        if not await _answered(listener, system, request, limits, metrics):
            return Response(status_code=CLIENT_GONE)
        return _json(asked.answer(listener.ticket.results[0], system))


def _add_state(app: FastAPI, systems: Sequence[ServedSystem], limits: ServingLimits, metrics: ServerMetrics) -> None:
    @app.get("/health", summary="Whether the models work; restart the server if not")
    async def health() -> Response:
        faults = {system.name: system.worker.fault or "stopped" for system in systems if not system.worker.alive}
        if faults:
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, f"models that fail: {faults}; restart the server")
        return _json({"status": "ok"})

    @app.get("/ready", summary="Whether the server accepts requests")
    async def ready() -> Response:
        for system in systems:
            if not system.worker.alive or system.worker.waiting >= limits.waiting:
                raise RequestError(
                    HTTPStatus.SERVICE_UNAVAILABLE, f"{system.name} accepts no requests now; try again later"
                )
        return _json({"status": "ready"})

    @app.get("/metrics", summary="For Prometheus")
    async def prometheus() -> Response:
        waiting = {system.name: system.worker.waiting for system in systems}
        return Response(metrics.page(waiting), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/info", summary="Systems, topics, priors, limits, versions")
    async def info() -> Response:
        described = await asyncio.to_thread(lambda: [system.describe() for system in systems])
        return _json({"models": described, "limits": vars(limits), "versions": library_versions()})

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return HTMLResponse(page(), headers={"Content-Security-Policy": policy()})


async def _answered(
    listener: Listener, system: ServedSystem, request: Request, limits: ServingLimits, metrics: ServerMetrics
) -> bool:
    """Wait for the answer, at most the allowed time; returns whether the client is still connected."""
    ticket = listener.ticket
    answered = asyncio.ensure_future(listener.answered())
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({answered, gone}, timeout=limits.seconds, return_when=asyncio.FIRST_COMPLETED)
        if gone.done() and not answered.done():
            return False
        if not answered.done():
            raise RequestError(
                HTTPStatus.GATEWAY_TIMEOUT, f"no answer within {limits.seconds:g} seconds; send fewer texts"
            )
        answered.result()
    except RequestError:
        metrics.failed(system.name, len(ticket.ask.texts))
        raise
    finally:
        ticket.cancelled = True
        answered.cancel()
        gone.cancel()
    _count(ticket, system, metrics)
    return True


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _streamed(
    listener: Listener, system: ServedSystem, limits: ServingLimits, metrics: ServerMetrics
) -> AsyncIterator[bytes]:
    """Yield events until the answer is complete."""
    ticket, names = listener.ticket, system.pipeline.topics.names
    try:
        async for event in listener.events(limits.seconds):
            yield event_of(event, ticket, names)
        _count(ticket, system, metrics)
        yield event_bytes("end", {"model": system.name})
    except TimeoutError:
        metrics.failed(system.name, len(ticket.ask.texts))
        problem = RequestError(
            HTTPStatus.GATEWAY_TIMEOUT, f"no complete answer within {limits.seconds:g} seconds; send fewer texts"
        )
        yield event_bytes("problem", problem.to_dict())
    except RequestError as problem:
        metrics.failed(system.name, len(ticket.ask.texts))
        yield event_bytes("problem", problem.to_dict())


class _EventStream(StreamingResponse):
    """Server-sent events of a ticket; when the client has gone, even before the first, the work ends."""

    def __init__(self, ticket: Ticket, events: AsyncIterator[bytes]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self._ticket = ticket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ticket.cancelled = True


def _count(ticket: Ticket, system: ServedSystem, metrics: ServerMetrics) -> None:
    for result in ticket.results:
        metrics.topic(system.name, result.topic)


def _json(values: dict[str, Any]) -> Response:
    return Response(to_json(values), media_type="application/json")


def _as_response(problem: RequestError) -> Response:
    return Response(to_json(problem.to_dict()), problem.status, problem.headers, MEDIA_TYPE)
