"""Whatever interrupts a job, run again it writes the bytes of an uninterrupted run."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from killing import KilledError, killed_after

from unskew.common import UserError, write_jsonl
from unskew.jobs import JobSettings, run

SCRIPT = str(Path(__file__).parent / "fake_job.py")
OUTPUTS = ["out.jsonl", "out.parquet", "out"]


@pytest.fixture
def source(tmp_path):
    rows = [{"id": str(i), "text": f"row {i} " + "POISON" * (i == 33)} for i in range(60)]
    rows[20] = {"id": "20"}
    write_jsonl(tmp_path / "in.jsonl", rows)
    return str(tmp_path / "in.jsonl")


def written(folder):
    """All bytes of a finished job but its manifest's."""
    files = [
        path for path in folder.rglob("*") if path.is_file() and path.name not in ("in.jsonl", ".lock", "job.json")
    ]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def whole(fake, source, tmp_path):
    """What an uninterrupted run writes."""

    def make(output, **options):
        place = tmp_path / "whole"
        run(fake.fake_system(), JobSettings(source, str(place / output), progress="none", **options))
        return written(place)

    return make


@pytest.mark.parametrize("output", OUTPUTS)
def test_killed_before_every_single_write(fake, source, whole, tmp_path, output):
    expected = whole(output, shard_rows=20)
    for survived in count():
        place = tmp_path / str(survived)
        job = JobSettings(source, str(place / output), shard_rows=20, progress="none")
        try:
            with killed_after(survived):
                run(fake.fake_system(), job)
            break
        except KilledError:
            pass
        run(fake.fake_system(), job)
        assert written(place) == expected
    assert survived > 8  # pyright: ignore[reportPossiblyUnboundVariable]


def test_killed_eight_times_at_random(source, whole, tmp_path):
    """By the system, mostly without a chance to tidy up."""
    expected = whole("out.jsonl", shard_rows=4)
    draw = random.Random(0)
    options = json.dumps({"pause": 0.01, "shard_rows": 4, "progress": "none"})
    command = [sys.executable, SCRIPT, source, str(tmp_path / "job" / "out.jsonl"), options]
    folder = tmp_path / "job" / "out.jsonl.job"
    for sent in [signal.SIGKILL] * 5 + [signal.SIGTERM] * 3:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _wait_for(lambda: folder.exists() or process.poll() is not None)  # noqa: B023 called at once
        time.sleep(draw.uniform(0.0, 0.3))
        process.send_signal(sent)
        assert process.wait() in (0, -sent, 143)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    assert written(tmp_path / "job") == expected


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_job_with_its_own_code(source, tmp_path, sent, code):
    options = json.dumps({"pause": 0.1, "progress": "none"})
    heard = partial(signal.signal, sent, signal.SIG_DFL)  # nohup may run the tests
    command = [sys.executable, SCRIPT, source, str(tmp_path / "out.jsonl"), options]
    with subprocess.Popen(command, preexec_fn=heard) as process:
        _wait_for((tmp_path / "out.jsonl.job" / "job.json").exists)
        process.send_signal(sent)
        assert process.wait() == code
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_disk_that_fills(fake, source, whole, tmp_path, monkeypatch, output):
    expected = whole(output, shard_rows=9)
    job = JobSettings(source, str(tmp_path / "job" / output), shard_rows=9, progress="none")
    sync, left = os.fsync, [8]

    def full(descriptor):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="no space left"):
        run(fake.fake_system(), job)
    monkeypatch.setattr(os, "fsync", sync)
    summary = run(fake.fake_system(), job)
    assert summary.resumed
    assert written(tmp_path / "job") == expected


def test_a_damaged_shard_is_noticed_and_done_again(fake, source, whole, tmp_path, monkeypatch):
    expected = whole("out.jsonl", shard_rows=9)
    job = JobSettings(source, str(tmp_path / "job" / "out.jsonl"), shard_rows=9, progress="none")
    monkeypatch.setattr("unskew.jobs.folder.finish", _die)
    with pytest.raises(KilledError):
        run(fake.fake_system(), job)
    monkeypatch.undo()
    part = tmp_path / "job" / "out.jsonl.job" / "part-00003.jsonl"
    part.write_bytes(part.read_bytes().replace(b"row", b"raw"))
    with pytest.raises(UserError, match="part-00003.* was changed"):
        run(fake.fake_system(), job)
    run(fake.fake_system(), job)
    assert written(tmp_path / "job") == expected


def test_a_second_process_is_refused(source, tmp_path):
    options = json.dumps({"pause": 5, "shard_rows": 9, "progress": "none"})  # it has to outlast the second one
    command = [sys.executable, SCRIPT, source, str(tmp_path / "out.jsonl"), options]
    lock = tmp_path / "out.jsonl.job" / ".lock"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as first:
        _wait_for(lambda: f"process {first.pid}" in (lock.read_text() if lock.exists() else ""))
        second = subprocess.run(command, capture_output=True, text=True)
        first.kill()
    assert second.returncode == 2
    assert f"process {first.pid}" in second.stdout
    assert "working on" in second.stdout


def _die(*_):
    raise KilledError


def _wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
