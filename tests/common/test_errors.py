"""The reason that one error lends to another's message."""

import pytest

from unskew.common import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError("\n no such file\nTraceback"), "no such file"),
        (ValueError(""), "ValueError"),
        (RuntimeError(" \n "), "RuntimeError"),
    ],
)
def test_the_first_line_of_a_message_or_the_kind_of_an_error_without_one(error, line):
    assert first_line(error) == line
