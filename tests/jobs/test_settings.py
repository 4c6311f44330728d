"""What a job finds, refuses, stops at and says; over a fake pipeline."""

import json
import os
import random
from itertools import pairwise
from pathlib import Path

import pytest

from unskew.common import UserError, write_jsonl
from unskew.corpus import Columns
from unskew.decoder import GenerationSettings
from unskew.jobs import JobSettings, describe, run


@pytest.fixture
def job(fake, tmp_path):
    def call(output="out.jsonl", source="in.jsonl", system=None, **options):
        options = {"progress": "none", "shard_rows": 9} | options
        return run(system or fake.fake_system(), JobSettings(str(tmp_path / source), str(tmp_path / output), **options))

    return call


@pytest.fixture
def rows(tmp_path):
    made = [{"id": str(i), "text": f"row {i}"} for i in range(40)]
    write_jsonl(tmp_path / "in.jsonl", made)
    return made


@pytest.fixture
def interrupted(job, rows, monkeypatch):
    """A job that was cut before its end."""
    with monkeypatch.context() as patch:
        patch.setattr("unskew.jobs.folder.finish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            job()
    return job


def read(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"top_k": 3}, "top_k was 5, is 3"),
        ({"limit": 39}, "limit was None, is 39"),
        ({"min_confidence": 0.5}, "min_confidence was 0.0, is 0.5"),
        ({"shard_rows": 10}, "shard_rows was 9, is 10"),
        ({"target_prior": "train"}, "target_prior was None, is 'train'"),
    ],
)
def test_a_changed_setting_is_refused_and_named(interrupted, options, reason):
    with pytest.raises(UserError, match=f"{reason}; .*--restart"):
        interrupted(**options)
    assert interrupted(**options, restart=True).resumed == 0


def test_guidance_is_part_of_the_plan_and_none_is_what_plans_without_it_had():
    def generation(**options):
        return JobSettings("in", "out", generation=GenerationSettings(**options)).in_results(9)["generation"]

    assert generation(guidance=2.0)["guidance"] == 2
    assert "guidance" not in generation()


def test_estimate_rows_are_part_of_the_plan_where_the_bundle_adapts_and_the_default_is_not():
    def planned(adapts, **options):
        return JobSettings("in", "out", **options).in_results(9, adapts)["estimate_rows"]

    assert [planned(True), planned(True, estimate_rows=5), planned(False, estimate_rows=5)] == [None, 5, None]
    assert planned(False, estimate_rows=5, target_prior="adaptive") == 5
    assert planned(True, estimate_rows=5, target_prior="train") is None


def test_settings_that_change_no_result_may_change(interrupted):
    assert interrupted(max_errors=5, progress="json", shard_rows=None).resumed == 40


@pytest.mark.parametrize("change", ["row 3", "row 39"])
def test_a_changed_input_is_refused_and_named(interrupted, tmp_path, change):
    path = tmp_path / "in.jsonl"
    path.write_text(path.read_text().replace(change, "now 3"))
    with pytest.raises(UserError, match=r"in\.jsonl has other contents"):
        interrupted()
    assert interrupted(restart=True).resumed == 0


def test_a_touched_input_is_the_same(interrupted, tmp_path):
    (tmp_path / "in.jsonl").touch()
    assert interrupted().resumed == 40


def test_a_file_whose_name_is_not_utf8_is_refused(fake, tmp_path):
    try:
        write_jsonl(Path(os.fsdecode(os.fsencode(tmp_path) + b"/Stra\xdfe.jsonl")), [{"text": "a"}])
    except UserError:
        pytest.skip("this file system has names in UTF-8 alone")
    with pytest.raises(UserError, match=r"Stra\\udcdfe\.jsonl' is not UTF-8; rename"):
        run(fake.fake_system(), JobSettings(str(tmp_path / "*.jsonl"), str(tmp_path / "out.jsonl")))
    assert not (tmp_path / "out.jsonl.job").exists()


def test_an_output_whose_name_is_not_utf8_can_be_written_with_its_metrics(fake, rows, tmp_path):
    pytest.importorskip("prometheus_client")
    output = os.fsdecode(os.fsencode(tmp_path) + b"/Stra\xdfe.jsonl")
    try:
        run(fake.fake_system(), JobSettings(str(tmp_path / "in.jsonl"), output, metrics=str(tmp_path / "job.prom")))
    except UserError as error:
        if "Illegal byte sequence" in str(error):
            pytest.skip("this file system has names in UTF-8 alone")
        raise
    assert r"Stra\\udcdfe.jsonl" in (tmp_path / "job.prom").read_text("utf-8")


@pytest.mark.parametrize(
    "options", [{"keep": "Stra\udcdfe"}, {"columns": Columns("Stra\udcdfe")}, {"target_prior": {"Stra\udcdfe": 1.0}}]
)
def test_options_that_no_manifest_can_hold_are_refused(options):
    with pytest.raises(UserError, match=r"Stra\\udcdfe.*, which is not UTF-8"):
        JobSettings("in.jsonl", "out.jsonl", **options)


def test_overlapping_inputs_are_read_once(fake, rows, tmp_path):
    inputs, output = [str(tmp_path / "in.jsonl"), str(tmp_path / "*.jsonl")], str(tmp_path / "out" / "")
    assert run(fake.fake_system(), JobSettings(inputs, output)).written == 40
    assert run(fake.fake_system(), JobSettings(inputs[::-1], output)).resumed == 40


def test_another_file_is_refused(interrupted, tmp_path, rows):
    write_jsonl(tmp_path / "also.jsonl", rows)
    with pytest.raises(UserError, match=r"the input was .*in\.jsonl, is .*also\.jsonl"):
        interrupted(source="also.jsonl")


def test_input_that_changes_during_the_job(fake, job, rows, tmp_path, monkeypatch):
    class Changing(fake.FakePipeline):
        def __call__(self, texts, **asked):
            with (tmp_path / "in.jsonl").open("a") as file:
                file.write('{"text": "late"}\n')
            return super().__call__(texts, **asked)

    monkeypatch.setattr(fake, "FakePipeline", Changing)
    with pytest.raises(UserError, match="changed while it was read"):
        job()
    assert not (tmp_path / "out.jsonl").exists()


def test_nothing_finished_nothing_refused(fake, job, rows):
    with pytest.raises(TypeError):
        job(system=fake.fake_system(bundle="broken", pause=None))
    assert job().resumed == 0


def test_a_finished_job_is_not_run_again(fake, job, rows, tmp_path):
    job()
    (tmp_path / "out.jsonl").touch()

    def load(_):
        raise AssertionError

    again = job(system=type(fake.fake_system())(load, {"bundle": "fake"}, fake.fake_system().topics))
    assert (again.written, again.resumed) == (40, 40)


@pytest.mark.parametrize("spoil", ["other", None])
def test_a_finished_output_that_was_changed_is_precious(job, rows, tmp_path, spoil):
    job()
    if spoil:
        (tmp_path / "out.jsonl").write_text(spoil)
    else:
        (tmp_path / "in.jsonl").write_text('{"text": "one"}')
    with pytest.raises(UserError, match="--overwrite"):
        job()
    job(overwrite=True)
    assert len(read(tmp_path / "out.jsonl")) == (40 if spoil else 1)


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.errors.jsonl"])
def test_foreign_files_are_not_replaced_unasked(job, rows, tmp_path, name):
    (tmp_path / name).write_text("precious")
    with pytest.raises(UserError, match="overwrite"):
        job()
    assert (tmp_path / name).read_text() == "precious"
    assert job(overwrite=True).written == 40


def test_foreign_folders_are_never_replaced(job, rows, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="has other contents"):
        job("folder", overwrite=True)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("output", "options", "reason"),
    [
        ("out.jsonl", {"limit": 0}, "limit"),
        ("out.jsonl", {"top_k": 0, "min_confidence": 2}, "top_k is 0.*min_confidence is 2"),
        ("out.jsonl", {"max_errors": 1.5}, "max_errors"),
        ("out.jsonl", {"executor": "spark"}, "local, ray"),
        (
            "out.jsonl",
            {"workers": 4, "gpus_per_worker": 1.0},
            "workers is for .*gpus_per_worker is for the Ray executor",
        ),
        ("out.jsonl", {"sets_kind": "pooled"}, "sets_kind is pooled, but no sets are made"),
        ("out.txt", {}, r"\.jsonl, .*\.parquet"),
        ("in.jsonl", {"overwrite": True}, "input itself"),
    ],
)
def test_refused_before_anything_is_written(job, rows, tmp_path, output, options, reason):
    with pytest.raises(UserError, match=reason):
        job(output, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize("output", ["out.jsonl", "out.parquet", "out"])
def test_empty_input(job, tmp_path, output):
    (tmp_path / "in.jsonl").write_text("")
    assert job(output).written == 0
    assert (tmp_path / output).exists()


def test_a_row_that_crashes_the_pipeline_costs_itself(fake, job, tmp_path):
    rows = 3 * fake.fake_system().window
    texts = [f"row {i}" for i in range(rows)]
    for place, word in ((0, "POISON"), (700, "PANIC"), (701, "POISON"), (rows - 1, "PANIC")):
        texts[place] = word
    write_jsonl(tmp_path / "in.jsonl", [{"text": text} for text in texts])
    summary = job(shard_rows=5000)
    errors = read(tmp_path / "out.jsonl.errors.jsonl")
    assert [(row["line"], row["id"]) for row in errors] == [(n, str(n)) for n in (1, 701, 702, rows)]
    assert errors[0]["reason"] == "ValueError: a poisonous row"
    assert errors[1]["reason"] == "Panic: index out of bounds"
    assert summary.written == rows - 4
    written = [int(row["id"]) for row in read(tmp_path / "out.jsonl")]
    assert all(a < b for a, b in pairwise(written))


def test_a_broken_machine_blames_no_row(job, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", [{"text": f"row {i}" + " BROKEN GPU" * (i == 25)} for i in range(40)])
    with pytest.raises(RuntimeError, match="the GPU is broken"):
        job()
    assert not (tmp_path / "out.jsonl").exists()
    assert not (tmp_path / "out.jsonl.job" / "errors").exists()
    assert len(list((tmp_path / "out.jsonl.job" / "done").iterdir())) == 2


@pytest.mark.parametrize(
    ("most", "stops"), [(2, True), (3, False), (0, True), (0.02, False), (0.01, True), (None, False)]
)
def test_too_many_errors_stop_a_job(job, tmp_path, most, stops):
    bad = {50, 120, 170}
    write_jsonl(tmp_path / "in.jsonl", [{"text": "" if i in bad else f"row {i}"} for i in range(200)])
    if not stops:
        assert job(max_errors=most).bad == 3
        return
    with pytest.raises(UserError, match=r"stopped: .*in\.jsonl, line 51: .* empty"):
        job(max_errors=most)
    assert list((tmp_path / "out.jsonl.job" / "done").iterdir())
    assert job(max_errors=100).resumed


def test_ids_may_repeat(job, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", [{"id": "same", "text": f"row {i}"} for i in range(30)])
    job()
    assert [row["id"] for row in read(tmp_path / "out.jsonl")] == ["same"] * 30
    assert [row["output"].split(" (")[0] for row in read(tmp_path / "out.jsonl")] == [f"row {i}" for i in range(30)]


def test_ten_thousand_fuzzed_rows_are_all_accounted_for(job, tmp_path):
    draw = random.Random(0)
    lines = [_fuzzed(draw, number) for number in range(10_000)]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    summary = job(shard_rows=1500)
    good, bad = read(tmp_path / "out.jsonl"), read(tmp_path / "out.jsonl.errors.jsonl")
    assert (summary.written, summary.bad) == (len(good), len(bad))
    # Rows without an id of their own are named by their number, which is their line.
    assert sorted([int(row["id"]) for row in good] + [row["line"] for row in bad]) == list(range(1, 10_001))
    assert len(good) > 1000
    assert len(bad) > 1000


def test_several_files_and_a_limit(job, tmp_path):
    write_jsonl(tmp_path / "a-1.jsonl", [{"text": f"a {i}"} for i in range(5)])
    (tmp_path / "a-2.csv").write_text("text\n" + "".join(f"b {i}\n" for i in range(30)))
    job(source="a-*", limit=20)
    assert [row["id"] for row in read(tmp_path / "out.jsonl")] == [str(n) for n in range(1, 21)]


def test_dry_run_says_all_and_does_nothing(fake, rows, tmp_path):
    options = JobSettings(str(tmp_path / "in.jsonl"), str(tmp_path / "deep" / "out.jsonl"), shard_rows=9)
    said = describe(fake.fake_system(), options)
    assert "40 rows" in said
    assert "5 shards of 9 rows" in said
    assert "begin" in said
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_dry_run_knows_what_is_done(fake, interrupted, tmp_path):
    options = JobSettings(str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"))
    assert "go on; 5 shards are done" in describe(fake.fake_system(), options)


def test_progress_for_machines(job, rows, capsys):
    job(progress="json", max_errors=None)
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (last["rows"], last["total"], last["errors"], last["seconds_left"]) == (40, 40, 0, 0)


def _fuzzed(draw, number):
    """A line of a JSONL file: about a third is broken in one way or another."""
    text = "".join(chr(draw.choice([draw.randrange(0x80), draw.randrange(0x20, 0xD7FF), 0xD83C])) for _ in range(9))
    texts = [text, "", " ", None, 3, ["x"], "POISON" if number % 500 == 0 else text, "<|topic:oil|></s>", text * 2000]
    broken = [b"{", b"\xff\xfe", b'{"text": "half', b"[]", b"\x00", b"nul", b'{"text": "\xc3"}', b'{"a":' * 3000]
    kind = draw.randrange(12)
    if kind == 0:
        return draw.choice(broken)
    return json.dumps({"text": draw.choice(texts) if kind < 5 else f"row {number}"}, ensure_ascii=True).encode()
