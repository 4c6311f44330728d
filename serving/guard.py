"""Ends requests of clients that are slow or send too much, and times requests. Knows ASGI alone.

uvicorn waits for a body, and for the client to read, as long as the connection is open; here both have a deadline.
"""

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CLIENT_GONE = 499  # nginx's code for a client that has disconnected; nobody reads it


class Guard:
    """Ends a request if the client is too slow to send the body or read the answer, or sends too much.

    Args:
        app: The guarded application.
        seconds: Time limit for the body, and for each part of the answer.
        most_bytes: Largest body in bytes.
        ended: Function called with the route, the status and the seconds of each request.
    """

    def __init__(self, app: ASGIApp, seconds: float, most_bytes: int, ended: Callable[[str, int, float], None]) -> None:
        self._app, self._seconds, self._most_bytes, self._ended = app, seconds, most_bytes, ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status, whole, taken = time.monotonic(), CLIENT_GONE, False, 0
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        deadline = asyncio.get_running_loop().time() + self._seconds

        async def receive_in_time() -> Message:
            nonlocal whole, taken
            if whole:
                return await receive()
            self._check_size(int(announced))
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(
                    HTTPStatus.REQUEST_TIMEOUT, "the body did not arrive in time; send it faster, or in parts"
                ) from None
            whole = not message.get("more_body", False)
            taken += len(message.get("body", b""))
            self._check_size(taken)
            return message

        async def send_in_time(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            try:
                async with asyncio.timeout(self._seconds):
                    await send(message)
            except TimeoutError:
                raise OSError("the client does not read the answer") from None

        try:
            await self._app(scope, receive_in_time, send_in_time)
        except ClientDisconnect:
            raise
        except Exception:
            # What answers it is outside of this class.
            status = HTTPStatus.INTERNAL_SERVER_ERROR.value if status == CLIENT_GONE else status
            raise
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._ended(route, status, time.monotonic() - begun)

    def _check_size(self, size: int) -> None:
        if size > self._most_bytes:
            megabytes = self._most_bytes / 1_000_000
            raise HTTPException(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is over {megabytes:g} MB; send it in parts"
            )
