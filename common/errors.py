"""The one exception that means "you, the user, can mend this".

Knows nothing of where it is raised; the command line prints its message as one line and no traceback.
"""


class UserError(ValueError):
    """A mistake in what the user gave: the message says what is wrong, where, and what to do, in one line."""


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
