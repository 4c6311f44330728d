"""The lock on a job's working folder."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from unskew.common import UserError
from unskew.jobs import folder
from unskew.jobs.paths import JobPaths

HOLD = """
import sys, time
from unskew.jobs import folder
from unskew.jobs.paths import JobPaths
with folder.locked(JobPaths.of(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_held_folder_is_refused_by_the_holders_name_and_free_once_the_holder_is_killed(tmp_path):
    output = str(tmp_path / "out.jsonl")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, output], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match=f"process {holder.pid} of .* is working on"),
            folder.locked(JobPaths.of(output)),
        ):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with folder.locked(JobPaths.of(output)):
        assert f"process {os.getpid()} of" in (tmp_path / "out.jsonl.job" / ".lock").read_text("utf-8")


def test_the_lock_clears_up_what_killed_writers_of_shards_left_on_any_machine(tmp_path):
    """A process that has written to the folder before does not look for leftovers again."""
    place = JobPaths.of(f"{tmp_path}/out/")
    left = [".part-00003.jsonl~elsewhere~1~0a.tmp", "errors/.part-00003.jsonl~elsewhere~1~0a.tmp"]
    others = [".part-notes.jsonl~elsewhere~1~0a.tmp", "part-00002.jsonl"]
    for name in (*left, *others):
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text("")
    with folder.locked(place):
        assert not any((tmp_path / "out" / name).exists() for name in left)
        assert all((tmp_path / "out" / name).exists() for name in others)


def test_the_lock_clears_up_what_a_killed_join_left_on_any_machine(tmp_path):
    left = [".out.jsonl~elsewhere~1~0a.tmp", ".out.jsonl.errors.jsonl~elsewhere~1~0a.tmp"]
    others = [".out.jsonl.gz~elsewhere~1~0a.tmp", ".other.jsonl~elsewhere~1~0a.tmp"]
    for name in (*left, *others):
        (tmp_path / name).write_text("")
    with folder.locked(JobPaths.of(f"{tmp_path}/out.jsonl")):
        assert not any((tmp_path / name).exists() for name in left)
        assert all((tmp_path / name).exists() for name in others)


def test_a_full_disk_is_one_line_and_holds_no_lock(tmp_path, monkeypatch):
    place = JobPaths.of(str(tmp_path / "out.jsonl"))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(UserError, match="cannot write to .*: No space left on device"), folder.locked(place):
            pass
    with folder.locked(place):
        pass


@pytest.mark.parametrize("name", ["", "a\0b.jsonl", "x" * 200 + ".jsonl", ".", "..", "/", "/dev/null", "file", "a.txt"])
def test_what_no_output_can_be_is_refused(name, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        JobPaths.of(name)
