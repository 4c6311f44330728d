"""The one exception that means "you, the user, can fix this".

Knows nothing of where it is raised; the command line prints its message as one line and no traceback.
"""

LONGEST = 1000  # characters of a message: what it quotes may come from data


class UserError(ValueError):
    """A mistake in what the user gave: the message says what is wrong, where, and what to do, in one line.

    What it quotes from data or other libraries may be long or of several lines: white space becomes one blank, and the
    middle of a message over `LONGEST` is left out.
    """

    def __init__(self, message: str = "") -> None:
        line = " ".join(str(message).split())
        half = LONGEST // 2
        super().__init__(line if len(line) <= LONGEST else f"{line[:half]} ... {line[-half:]}")


def first_line(error: BaseException) -> str:
    """The first line of an error's message, as a reason within another message; the error's kind if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
