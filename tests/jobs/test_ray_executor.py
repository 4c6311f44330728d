"""The Ray executor on a real local cluster: same bytes, whichever worker dies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unskew.common import write_jsonl
from unskew.jobs import JobSettings, run

pytest.importorskip("ray")
SCRIPT = str(Path(__file__).parent / "fake_job.py")
ALONE = {**os.environ, "RAY_ADDRESS": "local"}  # it would join a cluster that another test has started


def command(source, output, **options):
    options = {"executor": "ray", "workers": 2, "shard_rows": 7, "progress": "none"} | options
    return [sys.executable, SCRIPT, str(source), str(output), json.dumps(options)]


def test_a_worker_is_killed_and_the_bytes_are_those_of_one_process(fake, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", [{"text": f"row {i} " + "POISON" * (i == 33)} for i in range(140)])
    run(fake.fake_system(), JobSettings(str(tmp_path / "in.jsonl"), str(tmp_path / "one.jsonl"), shard_rows=7))
    pids = tmp_path / "pids"
    pids.mkdir()
    job = command(tmp_path / "in.jsonl", tmp_path / "ray.jsonl", pause=0.03, pids=str(pids))
    done = tmp_path / "ray.jsonl.job" / "done"
    with subprocess.Popen(job, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ALONE) as process:
        end = time.monotonic() + 240
        while not (done.exists() and len(list(done.iterdir())) > 1):
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < end
            time.sleep(0.02)
        victim = int(next(pids.iterdir()).name)
        assert victim != process.pid
        os.kill(victim, signal.SIGKILL)
        said, _ = process.communicate()
    assert process.returncode == 0, said
    assert "is done again by another" in said
    for name in ("one.jsonl", "one.jsonl.errors.jsonl"):
        other = tmp_path / name.replace("one", "ray")
        assert other.read_bytes() == (tmp_path / name).read_bytes()


def test_a_shard_that_ends_every_worker_ends_the_job_and_not_the_finished_shards(tmp_path):
    write_jsonl(tmp_path / "in.jsonl", [{"text": f"row {i} " + "DEADLY" * (i == 33)} for i in range(42)])
    found = subprocess.run(
        command(tmp_path / "in.jsonl", tmp_path / "ray.jsonl", workers=1), capture_output=True, text=True, env=ALONE
    )
    assert found.returncode == 2, found.stderr
    assert "shard 4 ended 3 workers" in found.stdout
    assert len(list((tmp_path / "ray.jsonl.job" / "done").iterdir())) >= 4
