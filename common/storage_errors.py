"""Turns errors of a store into one line without secrets. Knows the errors of fsspec's clients; reads nothing."""

import errno
import os
import re
from collections.abc import Generator
from contextlib import contextmanager

from .errors import UserError, first_line

MASKED = "***"

_QUERY = re.compile(r"\?[^/\s]*=\S*")
_SECRET = re.compile(r"secret|token|passw|credential|connection_string|sas|key", re.IGNORECASE)


def holds_query(text: str) -> bool:
    """Whether a URL has a query, which may contain signatures and tokens."""
    return _QUERY.search(text) is not None


@contextmanager
def explained(url: str, doing: str) -> Generator[None]:
    """Turn a client's error into one line; a missing object stays a FileNotFoundError unless it was to be written."""
    try:
        yield
    except FileNotFoundError as error:
        if doing != "write":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url) from None
        raise refusal(url, doing, error) from None
    except UserError:
        raise
    except Exception as error:
        # Without the original error: its trace would print what the client quotes from its request.
        raise refusal(url, doing, error) from None


def refusal(url: str, doing: str, error: Exception) -> UserError:
    """The error in our words, because the client's may quote a request with a secret."""
    kinds = " ".join(kind.__name__ for kind in type(error).__mro__)
    if isinstance(error, PermissionError) or "Credential" in kinds:
        why, remedy = "no permission", "check the credentials of the store's own tools, and their permissions"
    elif isinstance(error, FileNotFoundError):
        why, remedy = "the bucket does not exist", "create it first, or check the name"
    elif isinstance(error, TimeoutError | ConnectionError) or "Timeout" in kinds or "Connect" in kinds:
        why, remedy = "the store does not answer", "check the network and the endpoint, and run the same command again"
    elif "PreconditionFailed" in str(error) or "pre-conditions" in str(error):
        why, remedy = "it was changed while it was read", "restore its old contents to go on"
    else:
        why = f"{type(error).__name__}: {_without_secrets(first_line(error))}"
        remedy = "run the same command again, or choose another place"
    return UserError(f"cannot {doing} {url}: {why}; {remedy}")


def _without_secrets(text: str) -> str:
    """A client's message without queries and without the values of secret environment variables."""
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET.search(name):
            text = text.replace(value, MASKED)
    return _QUERY.sub(f"?{MASKED}", text)
