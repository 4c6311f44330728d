"""A job that starts again and is killed at any step of it."""

import os
import shutil
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from killing import KilledError, killed_after

from unskew.common import UserError, write_jsonl
from unskew.jobs import JobSettings, run

OUTPUTS = ["out.jsonl", "out/"]


@pytest.fixture
def job(fake, tmp_path):
    rows = [{"id": str(i), "text": f"row {i} " + "POISON" * (i in (5, 25))} for i in range(40)]
    write_jsonl(tmp_path / "in.jsonl", rows)

    def call(output, **options):
        settings = JobSettings(
            str(tmp_path / "in.jsonl"), os.path.join(tmp_path, output), **{"progress": "none"} | options
        )
        return run(fake.fake_system(), settings)

    return call


@contextmanager
def killed_before(step):
    """The kill is before the file of that number is written or removed; then an error tidies up."""
    left = step

    def or_die(real, counts):
        def call(path, *given, **options):
            nonlocal left
            if counts(path):
                left -= 1
                if left == -1:
                    raise KilledError
            return real(path, *given, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", or_die(os.replace, lambda _: True))
        patch.setattr(Path, "unlink", or_die(Path.unlink, lambda path: path.name.startswith("part-")))
        yield


def begin(job, output, finished):
    """A job that has ended, or was killed while it stored its third shard of four."""
    if finished:
        job(output, shard_rows=10)
        return
    with pytest.raises(KilledError), killed_after(8):
        job(output, shard_rows=10)


def files(place):
    hidden = (".", "job.json")
    found = [path for path in place.rglob("*") if path.is_file() and not path.name.startswith(hidden)]
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_restart_killed_before_any_write_or_removal(job, tmp_path, output, finished):
    """With larger shards, so that records of the earlier ones, and the last of those, must not count."""
    job(f"whole/{output}", shard_rows=20)
    expected = files(tmp_path / "whole")
    begin(job, f"earlier/{output}", finished)
    step = 0
    for step in count():
        place = tmp_path / str(step)
        shutil.copytree(tmp_path / "earlier", place)
        try:
            with killed_before(step):
                job(f"{place}/{output}", shard_rows=20, restart=True)
            break
        except KilledError:
            pass
        job(f"{place}/{output}", shard_rows=20, restart=step % 2 == 0)  # before the first write it is the earlier job
        assert files(place) == expected
    assert step > 12


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_restart_that_was_killed_leaves_shards_that_no_record_speaks_of(job, tmp_path, output, finished):
    begin(job, output, finished)
    with pytest.raises(KilledError), killed_before(1):
        job(output, restart=True)
    place = tmp_path / (output if output == "out/" else f"{output}.job")
    strange = [place / f"part-0009{index}.jsonl" for index in range(2)]
    for path in strange:
        path.write_text("precious")
    for options in ({}, {"restart": True}):
        with pytest.raises(UserError, match=r"part-00090\.jsonl, part-00091\.jsonl.* which this job has no record of"):
            job(output, **options)
    assert [path.read_text() for path in strange] == ["precious"] * 2
