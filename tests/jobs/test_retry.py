"""Errors of a job that run again: merged as if they had never been, or refused before anything is lost."""

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from job_results import OUTPUTS, contents, healed
from killing import KilledError, killed_after

from unskew.common import UserError
from unskew.jobs import JobSettings, run
from unskew.jobs.encoding import encode
from unskew.jobs.job import iter_shards
from unskew.jobs.predict_shard import predict_shard
from unskew.jobs.report import reconcile


def files(place):
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file() and path.name not in ("in.jsonl", ".lock", "job.json")
    }


@pytest.mark.parametrize("output", OUTPUTS)
def test_errors_that_run_again_are_merged_as_if_they_had_never_been(fake, job, rows, tmp_path, output):
    with healed(fake, "row 17", "row 25"):
        job(os.path.join("whole", output), shard_rows=7)
    expected = files(tmp_path / "whole")
    again = os.path.join("again", output)
    assert job(again, shard_rows=7, retry_errors=True).resumed == 0
    assert manifest_rows(tmp_path / "again") == (37, 3)
    with healed(fake, "row 17"):
        summary = job(again, shard_rows=7, retry_errors=True)
    assert (summary.written, summary.bad, summary.resumed) == (38, 2, 37)
    with healed(fake, "row 17", "row 25"):
        summary = job(again, shard_rows=7, retry_errors=True)
    assert (summary.written, summary.bad) == (39, 1)
    found = files(tmp_path / "again")
    # The fake's outputs tell what was answered together, which a retry changes; all else is the same.
    assert found.keys() == expected.keys()
    ids = [[row["id"] for path in sorted(place.rglob("*.*")) if path.is_file() and path.name in by_name(found)
            for row in contents(path)] for place in (tmp_path / "whole", tmp_path / "again")]  # fmt: skip
    assert ids[0] == ids[1]
    assert job(again, shard_rows=7, retry_errors=True).written == 39


def by_name(found):
    return {Path(name).name for name in found if "errors" not in name}


def manifest_rows(place):
    (path,) = place.rglob("job.json")
    report = json.loads(path.read_text())["report"]
    assert report["input_rows"] == report["output_rows"] + report["error_rows"]
    return report["output_rows"], report["error_rows"]


@pytest.mark.parametrize("output", ["out.jsonl", "out"])
def test_a_retry_killed_at_any_write_loses_nothing(fake, job, rows, tmp_path, output):
    survived = 0
    while True:
        place = f"{survived}/{output}"
        job(place)
        before = files(tmp_path / str(survived))
        try:
            with healed(fake, "row 17"), killed_after(survived):
                job(place, retry_errors=True)
            break
        except KilledError:
            pass
        survived += 3
        if survived % 2:
            job(place)  # without another retry the job is whole, with the old result of a row or the new
            assert manifest_rows(tmp_path / str(survived - 3))[0] in (37, 38)
        with healed(fake, "row 17"):
            assert job(place, retry_errors=True).written == 38
        assert files(tmp_path / str(survived - 3)).keys() == before.keys()
    assert survived > 9


def test_errors_that_were_edited_are_not_run_again(job, rows, tmp_path):
    job()
    errors = tmp_path / "out.jsonl.errors.jsonl"
    errors.write_text(errors.read_text().partition("\n")[2])
    with pytest.raises(UserError, match="was changed after the job had written it"):
        job(retry_errors=True)


def test_errors_of_a_csv_run_again_among_the_same_rows(fake, tmp_path):
    """A limit of the process decides how far a quote that is never closed reaches; reading results must not move it."""
    lines = [f'{i},"never closed' if i in (3, 30) else f"{i},row {i} {'y' * 100}" for i in range(40)]
    (tmp_path / "in.csv").write_text("\n".join(["id,text", *lines]) + "\n")
    settings = JobSettings(str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), progress="none", shard_rows=64)
    before = csv.field_size_limit(1000)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("unskew.corpus.formats.LARGEST_FIELD", 1000)
            first = run(fake.fake_system(), settings)
            rows = contents(tmp_path / "out.csv")
            again = run(fake.fake_system(), replace(settings, retry_errors=True))
        assert csv.field_size_limit() == 1000
    finally:
        csv.field_size_limit(before)
    assert (again.written, again.bad) == (first.written, first.bad) == (38, 2)
    assert contents(tmp_path / "out.csv") == rows


@pytest.mark.parametrize("moved", ["a row less", "an error elsewhere", "a result that was lost"])
def test_errors_run_again_over_other_rows_lose_nothing(fake, job, rows, tmp_path, monkeypatch, moved):
    job("out/")
    before = files(tmp_path / "out")

    def other_shards(*given):
        for shard in iter_shards(*given):
            match moved:
                case "a row less":
                    yield replace(shard, rows=shard.rows[:-1])
                case "an error elsewhere":
                    yield replace(shard, rows=[(row, file, line + 1000) for row, file, line in shard.rows])
                case _:
                    yield shard

    def lossy(*given):
        result = predict_shard(*given)
        return replace(result, content=encode([], given[3])) if moved == "a result that was lost" else result

    monkeypatch.setattr("unskew.jobs.job.iter_shards", other_shards)
    monkeypatch.setattr("unskew.jobs.job.predict_shard", lossy)
    with healed(fake, "row 17", "row 25"), pytest.raises(UserError, match="are not those that the input has now"):
        job("out/", retry_errors=True)
    monkeypatch.undo()
    assert job("out/").written == 37
    assert {name: content for name, content in files(tmp_path / "out").items() if "done" not in name} == before


def test_rows_after_a_retry_are_those_of_the_report_before():
    shards = [{"index": 0, "rows": 7, "errors": 3}, {"index": 1, "rows": 2, "errors": 0}]
    reconcile(shards, 10, None, {"input_rows": 12})
    with pytest.raises(UserError, match="12 rows in 2 shards of 10, but the input has 13"):
        reconcile(shards, 10, None, {"input_rows": 13})
