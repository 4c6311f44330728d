"""The one exception that means "you, the user, can mend this".

Knows nothing of where it is raised; the command line prints its message as one line and no traceback.
"""


class UserError(ValueError):
    """A mistake in what the user gave: the message says what is wrong, where, and what to do, in one line."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, as a reason within another message; the error's kind if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
