"""Text that came from data, made harmless where it is shown. Knows no file and no terminal."""

import re

# Controls (an escape sequence can clear a screen or type for the user) and marks that change the order of letters.
_HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    """The text with control characters, reordering marks and halves of surrogate pairs written as escapes.

    Tabs and line ends stay.
    """
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """As `printable`, with every run of white space as one blank."""
    return printable(" ".join(text.split()))


def markdown_text(text: str) -> str:
    """Text that stays text in a Markdown table or list: one line, and nothing in it is markup or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", one_line(text))


def spreadsheet_text(text: str) -> str:
    """Text that a spreadsheet does not take for a formula: one that starts like it gets an apostrophe before it."""
    return "'" + text if text.startswith(_FORMULA) else text
