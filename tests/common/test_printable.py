"""Text from data, made harmless for a terminal, a Markdown page and a spreadsheet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unskew.common import UserError, markdown_text, one_line, printable, spreadsheet_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b2J", r"\x9b2J"),
        ("a\u202eb", r"a\u202eb"),
        ("\ud800", r"\ud800"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("שלום, 😀 and é", "שלום, 😀 and é"),
    ],
)
def test_what_steers_a_terminal_is_shown_as_text(text, shown):
    assert printable(text) == shown


@given(st.text())
def test_nothing_that_is_shown_steers_a_terminal(text):
    shown = printable(text)
    assert all(letter in "\t\n" or ord(letter) >= 32 for letter in shown)
    assert "\n" not in one_line(text)
    assert printable(shown) == shown


@given(st.text())
def test_markdown_has_no_markup_of_the_text(text):
    shown = markdown_text(text)
    for mark in "<>|`*[]":
        assert shown.count(mark) == shown.count("\\" + mark)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum", "\t=1"])
def test_a_spreadsheet_sees_no_formula(text):
    assert spreadsheet_text(text) == "'" + text


def test_a_user_error_is_one_line_of_bounded_length_with_its_remedy():
    error = UserError("cannot read:\n  " + "x" * 100_000 + "\n; write it again")
    assert len(str(error)) < 1100
    assert "\n" not in str(error)
    assert str(error).endswith("; write it again")
