"""Makes text from data safe to show. Knows no file and no terminal."""

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
    """The result of `printable`, with each run of white space as one blank."""
    return printable(" ".join(text.split()))


def markdown_text(text: str) -> str:
    """The text on one line for a Markdown table or list, with markup and HTML escaped."""
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", one_line(text))


def spreadsheet_text(text: str) -> str:
    """The text, with an apostrophe before it if a spreadsheet would read it as a formula."""
    return "'" + text if text.startswith(_FORMULA) else text
