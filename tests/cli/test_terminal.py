"""On a terminal: all that a log file holds stays in view, and nothing else than what the commands say is shown."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from quick_stages import STAGES

from unskew.common import printable, write_jsonl

# Commands in one process, whose own log lines also go to a file.
DRIVER = """
import json, logging, sys
from unskew.cli.main import main
logging.getLogger("unskew").addHandler(logging.FileHandler(sys.argv[1], encoding="utf-8"))
for command in json.loads(sys.argv[2]):
    try:
        main(command)
    except SystemExit as ended:
        print("ended with", ended.code, flush=True)
"""
CLEARS = "\x1b[2J"  # a terminal that gets this shows nothing of what was before
NAME = f"サッカー {CLEARS}"


def on_a_terminal(*arguments):
    """What a process sends to a terminal of 400 columns."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 400, 0, 0))
    surroundings = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    process = subprocess.Popen(
        arguments, stdin=its, stdout=its, stderr=its, close_fds=True, env={**surroundings, "TERM": "xterm-256color"}
    )
    os.close(its)
    sent = b""
    try:
        while piece := os.read(ours, 1 << 16):
            sent += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    process.wait()
    os.close(ours)
    return sent.decode("utf-8")


def screen(sent):
    """The lines that are in view at the end, for a terminal of endless height."""
    lines, row, column = [""], 0, 0
    for code, character in re.findall(r"\x1b\[([0-?]*[@-~])|(.)", sent, re.DOTALL):
        if code.endswith("A"):
            row = max(0, row - int(code[:-1] or 1))
        elif code.endswith("K"):
            lines[row] = "" if code == "2K" else lines[row][:column]
        elif character == "\r":
            column = 0
        elif character == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif character:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + character + line[column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


@pytest.fixture(scope="module")
def session(make_rows, tmp_path_factory):
    """What a terminal got of a fit, a job and an evaluation, and the log lines of the three."""
    folder = tmp_path_factory.mktemp("terminal")
    rows = [
        {**row, "topic": NAME if row["topic"] == "football" else row["topic"]}
        for row in make_rows({"harvest": 30, "harbour": 12, "football": 8}, 0, "train")
    ]
    write_jsonl(folder / "train.jsonl", rows)
    config = {"data": {"train": str(folder / "train.jsonl")}, **STAGES}
    (folder / "fit.json").write_text(json.dumps(config))
    bundle, texts = str(folder / "bundle"), str(folder / "train.jsonl")
    commands = [
        ["fit", "--config", str(folder / "fit.json"), "--output", bundle],
        ["predict", "--model", bundle, "--input", texts, "--output", str(folder / "out.jsonl"), "--device", "cpu"],
        ["evaluate", "--model", bundle, "--input", texts, "--output", str(folder / "eval"), "--device", "cpu"],
    ]
    sent = on_a_terminal(sys.executable, "-c", DRIVER, str(folder / "log"), json.dumps(commands))
    return sent, (folder / "log").read_text("utf-8").splitlines()


def test_all_that_a_log_file_holds_stays_in_view(session):
    sent, logged = session
    seen = "\n".join(screen(sent))
    assert seen.count("ended with 0") == 3, seen
    for epoch in ("encoder, clean: epoch 2 of 2", "decoder, clean: epoch 2 of 2"):
        assert any(line.startswith(epoch) and "nll" in line for line in logged)
    assert [line for line in logged if printable(line).strip() not in seen] == []


def test_bars_count_epochs_as_the_lines_do_and_go_away(session):
    bar = "encoder, clean: epoch 2 of 2 "
    assert f"{bar}━" in re.sub(r"\x1b\[[0-?]*[@-~]", "", session[0])
    fitting = "\n".join(screen(session[0])).partition("ended with")[0]
    assert "━" not in fitting, fitting


def test_no_library_is_heard(session):
    seen = "\n".join(screen(session[0]))
    heard = [word for word in ("Warning", "Loading weights", "it/s", "Glyph", "v_num", "Traceback") if word in seen]
    assert heard == [], seen


def test_text_from_data_steers_no_terminal(session):
    assert CLEARS not in session[0]
    assert printable(NAME) in "\n".join(screen(session[0]))
