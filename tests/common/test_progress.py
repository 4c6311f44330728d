"""Progress of long work: what is told, in each of its forms."""

import json
import logging
import time

import pytest

from unskew.common import show_progress, track


def test_json_lines_end_with_all_rows(capsys):
    with show_progress("json", "predict", total=10, done=4, errors=1) as tell:
        tell(5, 2)
        tell(1, 0)
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (last["rows"], last["total"], last["errors"], last["seconds_left"]) == (10, 10, 3, 0)


def test_elsewhere_than_on_a_terminal_a_line_says_how_far_it_came(caplog):
    with caplog.at_level(logging.INFO, "unskew"), show_progress("auto", "predict", total=3) as tell:
        tell(3, 1)
    assert "predict: 3 of 3 rows, 1 error, " in caplog.text


def test_earlier_work_on_the_rows_counts_in_the_rate_but_not_in_the_time_left(capsys, monkeypatch):
    with show_progress("json", "predict", total=40_000, done=20_000, spent=0.5) as tell:
        end = time.monotonic() + 5_000
        monkeypatch.setattr("unskew.common.progress.time.monotonic", lambda: end)
        tell(10_000, 0)
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (last["name"], last["rows_per_second"]) == ("predict", pytest.approx(1, rel=0.02))
    assert last["seconds_left"] == pytest.approx(5_000, rel=0.02)


def test_none_says_nothing(capsys, caplog):
    with caplog.at_level(logging.INFO, "unskew"), show_progress("none", "predict") as tell:
        tell(3, 0)
    assert capsys.readouterr() == ("", "")
    assert not caplog.records


def test_work_that_fails_is_shown_as_far_as_it_came(caplog):
    def failing():
        yield from range(2)
        raise OSError("the disk is gone")

    with caplog.at_level(logging.INFO, "unskew"), pytest.raises(OSError, match="the disk is gone"):
        list(track(failing(), "predict"))
    assert "predict: 2 rows" in caplog.text


def test_items_pass_unchanged():
    assert list(track(iter("abc"), "letters", 3)) == ["a", "b", "c"]
