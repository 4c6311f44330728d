"""The exception for a mistake that the user can fix. Knows nothing of where it is raised.

The command line prints its message as one line, without a traceback.
"""

LONGEST = 1000  # characters of a message, because it may quote data


class UserError(ValueError):
    """A mistake in the user's input: the message says what is wrong, where, and what to do, in one line.

    Quotes from data or other libraries may be long or have several lines. So each run of white space becomes one blank,
    and the middle of a message over `LONGEST` is left out.
    """

    def __init__(self, message: str = "") -> None:
        line = " ".join(str(message).split())
        half = LONGEST // 2
        super().__init__(line if len(line) <= LONGEST else f"{line[:half]} ... {line[-half:]}")


def check_settings(name: str, value: object, kind: type) -> None:
    """Raise a UserError if Python code gave something other than an object of settings, such as a dict."""
    if not isinstance(value, kind):
        room = ".".join(kind.__module__.split(".")[:2])
        raise UserError(f"{name} is {value!r}; give {kind.__name__}(...): from {room} import {kind.__name__}")


def first_line(error: BaseException) -> str:
    """The first line of an error's message, to quote in another message; the error's type if it has no message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
