"""Errors of a request as problem documents (RFC 9457). Knows errors, but no server."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from ..common import UserError, first_line, one_line
from ..runtime import is_out_of_memory

log = logging.getLogger("unskew")

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1


class RequestError(Exception):
    """A request that could not be answered.

    Args:
        status: The HTTP status.
        detail: What is wrong and what to do, in one line.
        row: Number of the text at fault, counted from 1; None if it is the whole request.
    """

    def __init__(self, status: int, detail: str, row: int | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.row = status, one_line(detail), row

    def to_dict(self) -> dict[str, Any]:
        """The document's members; `row` is an extension."""
        members = {"type": "about:blank", "title": HTTPStatus(self.status).phrase, "status": self.status}
        return {**members, "detail": self.detail, **({} if self.row is None else {"row": self.row})}

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response."""
        return {"Retry-After": str(RETRY_SECONDS)} if self.status == HTTPStatus.SERVICE_UNAVAILABLE else {}


def problem_of(error: BaseException, row: int | None = None) -> RequestError:
    """The problem document for an error; errors that are not the client's fault are logged."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, UserError):
        return RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), row)
    log.error("a request failed: %s: %s", type(error).__name__, first_line(error))
    if is_out_of_memory(error):
        return RequestError(
            HTTPStatus.SERVICE_UNAVAILABLE, "out of memory; send a shorter text, or fewer max_new_tokens", row
        )
    return RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, f"the model failed ({type(error).__name__})", row)


def problem_of_validation(errors: Sequence[Any]) -> RequestError:
    """The problem document for an invalid body, from the first of pydantic's errors."""
    first = errors[0]
    kind, place = first["type"], [part for part in first["loc"] if part != "body"]
    if kind == "json_invalid":
        return RequestError(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {first.get('ctx', {}).get('error', '')}")
    if not place:
        return RequestError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            'the body must be a JSON object such as {"text": "..."}, sent with Content-Type: application/json',
        )
    row = next((part + 1 for before, part in zip(place, place[1:], strict=False) if before == "texts"), None)
    shown = ".".join(str(part) for part in place)
    hint = "there is no such option" if kind == "extra_forbidden" else first["msg"]
    return RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{shown}: {hint}", row if isinstance(row, int) else None)
