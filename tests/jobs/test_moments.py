"""Things that change at a bad moment of a job: its input, its bundle, its output, its machine."""

import json
import math
import os
import shutil
from functools import partial

import pytest
import torch

from unskew.common import UserError, write_jsonl
from unskew.decoder import GenerationSettings
from unskew.jobs import JobSettings, folder, open_model, predict, run, standing
from unskew.pipeline import HybridPipeline


@pytest.fixture
def rows(tmp_path):
    write_jsonl(tmp_path / "in.jsonl", [{"id": str(i), "text": f"row {i}"} for i in range(40)])


@pytest.fixture
def job(fake, tmp_path):
    def call(output="out.jsonl", system=None, **options):
        settings = JobSettings(
            str(tmp_path / "in.jsonl"), str(tmp_path / output), **{"progress": "none", "shard_rows": 10} | options
        )
        return run(system or fake.fake_system(), settings)

    return call


def read(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def in_child(work):
    """Run `work` in a forked child that dies without tidying up; its exit code, 9 where it was killed by `kill`."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill():
    os._exit(9)


def once(monkeypatch, where, name, act):
    """Do `act` before the first call of a function."""
    real, done = getattr(where, name), []

    def call(*given, **options):
        if not done:
            done.append(True)
            act()
        return real(*given, **options)

    monkeypatch.setattr(where, name, call)


@pytest.mark.parametrize("how", ["in place", "by another file", "with its old date"])
def test_an_input_rewritten_in_the_middle_and_put_back(job, rows, tmp_path, monkeypatch, how):
    path = tmp_path / "in.jsonl"
    before, state = path.read_bytes(), path.stat()
    other = before.replace(b"row", b"raw")

    def rewrite():
        if how == "by another file":
            (tmp_path / "new.jsonl").write_bytes(other)
            os.replace(tmp_path / "new.jsonl", path)
        else:
            path.write_bytes(other)
        if how == "with its old date":
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))

    def work():
        real, calls = folder.store, []

        def store(*given):
            real(*given)
            calls.append(given)
            if len(calls) == 1:
                rewrite()
            if len(calls) == 3:
                kill()

        monkeypatch.setattr(folder, "store", store)
        job()

    assert in_child(work) == 1  # refused before a second shard could be stored
    path.write_bytes(before)
    assert job().resumed == 10
    assert [row["output"].split(" (")[0] for row in read(tmp_path / "out.jsonl")] == [f"row {i}" for i in range(40)]


def test_a_file_that_a_pattern_matches_only_later_is_not_read(fake, rows, tmp_path, monkeypatch):
    once(monkeypatch, folder, "locked", partial(write_jsonl, tmp_path / "earlier.jsonl", [{"text": "late"}] * 10))
    output = tmp_path / "out" / "out.jsonl"
    run(fake.fake_system(), JobSettings(str(tmp_path / "*.jsonl"), str(output), progress="none", shard_rows=10))
    assert [row["id"] for row in read(output)] == [str(i) for i in range(40)]


def test_a_shard_of_another_plan_does_not_count(job, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "finish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        job()
    monkeypatch.undo()
    record = tmp_path / "out.jsonl.job" / "done" / "part-00001.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "plan": "0" * 64}))
    assert job().resumed == 30


@pytest.mark.parametrize("back", [False, True])
def test_a_bundle_replaced_between_fingerprint_and_load(fitted, tmp_path, monkeypatch, back):
    """Also where it is put back after the load: what was loaded then is not what the fingerprint is of."""
    write_jsonl(tmp_path / "in.jsonl", [{"text": "wheat field"}])
    bundle, aside = tmp_path / "bundle", tmp_path / "aside"
    shutil.copytree(fitted[1], bundle)
    other = HybridPipeline.from_pretrained(fitted[1], "cpu", merge=False).with_target_prior({"football": 1})
    job = JobSettings(str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"), progress="none")
    system = open_model(str(bundle), "cpu", job=job)
    bundle.rename(aside)
    other.save_pretrained(bundle)
    real = HybridPipeline.from_pretrained

    def load(*given, **options):
        loaded = real(*given, **options)
        if back:
            shutil.rmtree(bundle)
            aside.rename(bundle)
        return loaded

    monkeypatch.setattr(HybridPipeline, "from_pretrained", load)
    with pytest.raises(UserError, match="was replaced while the job started"):
        run(system, job)
    assert not (tmp_path / "out.jsonl").exists()


def test_a_bundle_that_is_elsewhere_is_known_by_its_contents(fitted, tmp_path):
    """As for a worker on another machine, whose files have other numbers and dates."""
    bundle = tmp_path / "bundle"
    shutil.copytree(fitted[1], bundle)
    system = open_model(str(bundle), "cpu")
    shutil.copytree(bundle, tmp_path / "copy")
    shutil.rmtree(bundle)
    (tmp_path / "copy").rename(bundle)
    assert system.load("uniform")


def test_a_broken_model_blames_no_row(fake, job, rows, tmp_path, monkeypatch):
    class Broken(fake.FakePipeline):
        def __call__(self, texts, **asked):
            for result in super().__call__(texts, **asked):
                result.confidence = math.nan
                yield result

    monkeypatch.setattr(fake, "FakePipeline", Broken)
    with pytest.raises(UserError, match=r"confidence is nan.*the system is broken, not a row"):
        job()
    assert not (tmp_path / "out.jsonl.job" / "done").exists()


def test_a_broken_encoder_gives_no_prior(fitted, tmp_path, monkeypatch):
    write_jsonl(tmp_path / "in.jsonl", [{"text": "wheat field"}] * 3)
    broken = HybridPipeline.from_pretrained(fitted[1], "cpu")
    broken.encoder.logits = lambda texts: math.nan * fitted[0].encoder.logits(texts)
    job = JobSettings(str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"), target_prior="adaptive", progress="none")
    system = open_model(str(fitted[1]), "cpu")
    with pytest.raises(UserError, match="the system is broken, not a row"):
        run(type(system)(lambda prior: broken, system.state, system.topics), job)


@pytest.mark.parametrize("calls", [1, 5, 7])
def test_a_passing_fault_blames_no_row(fake, job, rows, tmp_path, monkeypatch, calls):
    left = [calls]

    class Starved(fake.FakePipeline):
        def __call__(self, texts, **asked):
            if "row 3" in texts and left[0]:
                left[0] -= 1
                raise MemoryError
            return super().__call__(texts, **asked)

    monkeypatch.setattr(fake, "FakePipeline", Starved)
    summary = job(shard_rows=64)
    assert left == [0]
    assert (summary.written, summary.bad) == (40, 0)


def foreign_folder(place, manifest):
    place.mkdir()
    (place / "job.json").write_text(manifest)
    for name in ("errors/thesis.tex", "done/list.txt", "part-notes.jsonl", "part-1.jsonl"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text("precious")
    return sorted(path for path in place.rglob("*") if path.is_file() and path.name != "job.json")


@pytest.mark.parametrize("output", ["results", "out.jsonl"])
def test_restart_leaves_what_no_job_has_written(job, rows, tmp_path, output):
    job(output="first/")
    place = tmp_path / (output if output == "results" else "out.jsonl.job")
    precious = foreign_folder(place, (tmp_path / "first" / "job.json").read_text())
    job(output, restart=True, overwrite=True)
    assert all(path.read_text() == "precious" for path in precious)


def test_restart_over_shards_of_which_no_record_speaks_is_refused(job, rows, tmp_path):
    job(output="first/")
    manifest = json.loads((tmp_path / "first" / "job.json").read_text())
    foreign_folder(tmp_path / "results", json.dumps({**manifest, "shards": [], "finished": None}))
    for index in (0, 7):
        (tmp_path / "results" / f"part-{index:05d}.jsonl").write_text("precious")
    with pytest.raises(
        UserError, match=r"contains part-00000\.jsonl, part-00007\.jsonl, which this job has no record of"
    ):
        job("results", restart=True)
    assert (tmp_path / "results" / "part-00000.jsonl").read_text() == "precious"


def test_restart_does_not_replace_an_output_that_is_not_the_jobs(job, rows, tmp_path):
    job()
    (tmp_path / "out.jsonl").write_text("precious")
    with pytest.raises(UserError, match="--overwrite"):
        job(restart=True)
    assert (tmp_path / "out.jsonl").read_text() == "precious"


@pytest.mark.parametrize("again", [{}, {"restart": True}])
@pytest.mark.parametrize("output", ["out.jsonl", "out/"])
def test_a_finished_job_that_starts_again_and_is_killed_resumes(job, rows, tmp_path, monkeypatch, output, again):
    with (tmp_path / "in.jsonl").open("a") as file:
        file.write("broken\n")
    job(output)
    assert in_child(lambda: once(monkeypatch, folder, "check_own", kill) or job(output, restart=True)) == 9
    assert job(output, **again).bad == 1
    assert (job(output).written, job(output).resumed) == (40, 41)


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.errors.jsonl"])
@pytest.mark.parametrize("moment", ["store", "finish", "join"])
def test_a_file_that_appears_where_the_output_goes(job, rows, tmp_path, monkeypatch, name, moment):
    with (tmp_path / "in.jsonl").open("a") as file:
        file.write("broken\n")
    with monkeypatch.context() as patch:
        once(patch, folder, moment, partial((tmp_path / name).write_text, "precious"))
        with pytest.raises(UserError, match="was written by another process while the job ran"):
            job()
    with pytest.raises(UserError, match="exists"):
        job()
    assert (tmp_path / name).read_text() == "precious"
    (tmp_path / name).unlink()
    assert job().resumed == 41


def put_there(path, text="precious"):
    """A file of somebody else's takes a path."""
    other = path.with_name("other")
    other.write_text(text)
    os.replace(other, path)


@pytest.mark.parametrize("again", [{"restart": True}, {"retry_errors": True}])
@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.errors.jsonl"])
@pytest.mark.parametrize("moment", ["store", "finish", "join"])
def test_a_file_that_takes_the_place_of_results_that_a_job_replaces(
    job, rows, tmp_path, monkeypatch, again, name, moment
):
    with (tmp_path / "in.jsonl").open("a") as file:
        file.write("broken\n")
    job()
    with monkeypatch.context() as patch:
        once(patch, folder, moment, partial(put_there, tmp_path / name))
        with pytest.raises(UserError, match="was written by another process while the job ran"):
            job(**again)
    for options in ({}, again):
        with pytest.raises(UserError, match="exists"):
            job(**options)
    assert (tmp_path / name).read_text() == "precious"
    (tmp_path / name).unlink()
    assert job().resumed == 41
    assert (len(read(tmp_path / "out.jsonl")), len(read(tmp_path / "out.jsonl.errors.jsonl"))) == (40, 1)


@pytest.mark.parametrize("again", [{"restart": True}, {"retry_errors": True}])
def test_a_file_that_takes_the_place_of_results_just_when_they_have_been_checked(
    job, rows, tmp_path, monkeypatch, again
):
    with (tmp_path / "in.jsonl").open("a") as file:
        file.write("broken\n")
    job()
    manifest = tmp_path / "out.jsonl.job" / "job.json"
    before = manifest.read_text()
    with monkeypatch.context() as patch:
        once(patch, standing, "refuse_new", partial(put_there, tmp_path / "out.jsonl"))
        with pytest.raises(UserError, match="was written by another process while the job ran"):
            job(**again)
    assert manifest.read_text() == before
    assert (tmp_path / "out.jsonl").read_text() == "precious"


@pytest.mark.parametrize("again", [{"restart": True}, {"retry_errors": True}])
@pytest.mark.parametrize("output", ["out.jsonl", "out/"])
def test_a_file_that_takes_the_place_of_results_after_a_kill(job, rows, tmp_path, monkeypatch, output, again):
    with (tmp_path / "in.jsonl").open("a") as file:
        file.write("broken\n")
    job(output)
    assert in_child(lambda: once(monkeypatch, folder, "check_own", kill) or job(output, **again)) == 9
    errors = tmp_path / f"{output.strip('/')}.errors.jsonl"
    before = errors.read_text()
    put_there(errors)
    for options in ({}, again):
        with pytest.raises(UserError, match="exists"):
            job(output, **options)
    assert errors.read_text() == "precious"
    put_there(errors, before)
    assert job(output).bad == 1


def test_an_existing_output_is_that_of_a_job_whose_manifest_says_joining(job, rows, tmp_path, monkeypatch):
    """As it was left by a kill at the end of a job, or in a job that an earlier version had started again."""
    with monkeypatch.context() as patch:
        patch.setattr(folder, "finish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            job()
    path, output = tmp_path / "out.jsonl.job" / "job.json", tmp_path / "out.jsonl"
    path.write_text(json.dumps({**json.loads(path.read_text()), "joining": True}))
    output.write_text("half of it")
    with monkeypatch.context() as patch:
        once(patch, folder, "finish", partial(put_there, output))
        with pytest.raises(UserError, match="was written by another process while the job ran"):
            job()
    with pytest.raises(UserError, match="exists"):
        job()
    put_there(output, "half of it")
    assert job().resumed == 40
    assert len(read(output)) == 40


@pytest.mark.parametrize(
    ("name", "before", "now", "said"),
    [
        ("processor", "x86_64 AVX2", "x86_64 AVX512", "started on x86_64 AVX2 and goes on on x86_64 AVX512"),
        ("threads", 4, 2, "started with 4 threads and goes on with 2"),
    ],
)
def test_going_on_where_numbers_may_be_rounded_differently_is_said(
    fake, job, rows, monkeypatch, caplog, name, before, now, said
):
    with monkeypatch.context() as patch:
        patch.setattr(folder, "finish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            job(system=fake.fake_system(**{name: before}))
    assert job(system=fake.fake_system(**{name: now})).resumed == 40
    assert said in caplog.text


def test_the_plan_names_the_instructions_and_the_threads(fitted, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", [{"text": "wheat"}])
    short = GenerationSettings(max_new_tokens=2)
    predict(fitted[1], str(tmp_path / "in.jsonl"), tmp_path / "out.jsonl", generation=short, device="cpu")
    plan = json.loads((tmp_path / "out.jsonl.job" / "job.json").read_text())["plan"]
    assert len(plan["processor"].split()) >= 2
    assert plan["threads"] == torch.get_num_threads()
