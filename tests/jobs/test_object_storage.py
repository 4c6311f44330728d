"""A job whose input and output are in object storage: over an S3 server, or fsspec's memory where S3 adds nothing."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import fsspec
import pytest
from killing import KilledError
from object_store import KEY, SECRET, client, in_environment, memory_store, objects, s3_server

from unskew.common import UserError, any_path, replacing, storage, write_jsonl
from unskew.corpus import Columns
from unskew.jobs import JobSettings, describe, describe_status, folder, job_status, predict, run
from unskew.jobs.encoding import FORMATS

SCRIPT = str(Path(__file__).parent / "fake_job.py")
OUTPUTS = ["out/", "out.jsonl", "out.parquet"]


@pytest.fixture(scope="module")
def environment():
    """Of an S3 server that runs for all tests of this file."""
    with s3_server() as values, in_environment(values):
        yield values


@pytest.fixture
def s3(environment, request):
    """A client of a server with one empty bucket, `job`."""
    urllib.request.urlopen(f"{environment['AWS_ENDPOINT_URL']}/moto-api/reset", data=b"").read()
    made = client(environment)
    made.create_bucket(Bucket="job")
    return made


@pytest.fixture
def memory():
    with memory_store() as store:
        yield store


@pytest.fixture
def source(tmp_path):
    """A local file, two of whose sixty rows are bad."""
    rows = [{"id": str(i), "text": f"row {i} " + "POISON" * (i == 33)} for i in range(60)]
    rows[20] = {"id": "20"}
    write_jsonl(tmp_path / "in.jsonl", rows)
    return tmp_path / "in.jsonl"


@pytest.fixture
def job(fake):
    def call(source, output, **options):
        settings = JobSettings(str(source), output, **{"shard_rows": 20, "progress": "none"} | options)
        return run(fake.fake_system(), settings)

    return call


def in_memory(prefix):
    """Every object under a prefix of the memory, but the manifest, by what follows the prefix."""
    store = fsspec.filesystem("memory")
    return {
        name.removeprefix(f"/{prefix}"): store.cat_file(name)
        for name in store.find(f"/{prefix}")
        if not name.endswith("job.json")
    }


def of_a_local_job(job, source, tmp_path, output):
    """What a job in a folder writes, by its path there, with the manifest's values apart."""
    place = tmp_path / "local"
    job(source, str(place) + f"/{output}")
    files = {path.relative_to(place).as_posix(): path for path in place.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if path.name not in (".lock", "job.json")}


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_objects_are_the_files_of_a_local_job(job, s3, source, tmp_path, output):
    expected = of_a_local_job(job, source, tmp_path, output)
    s3.upload_file(str(source), "job", "incoming/in.jsonl")
    summary = job(source, f"s3://job/{output}")
    found = objects(s3, "job")
    manifest = json.loads(found.pop("out/job.json" if output == "out/" else f"{output}.job/job.json"))
    assert found.pop("incoming/in.jsonl")
    assert found == expected
    assert manifest["report"]["output_rows"] == summary.written == 58
    assert job(source, f"s3://job/{output}").resumed == 60
    assert "state:   finished" in describe_status(job_status(f"s3://job/{output}"))


@pytest.mark.parametrize("form", FORMATS)
def test_input_of_every_format_is_read_as_a_local_file_is(job, memory, source, tmp_path, form):
    """Through a job's own output, which is written in all of them."""
    job(source, str(tmp_path / f"rows.{form}"))
    memory.put_file(str(tmp_path / f"rows.{form}"), f"/in/rows.{form}")
    for given, output in ((tmp_path / f"rows.{form}", "local"), (f"memory://in/*.{form}", "remote")):
        job(given, str(tmp_path / f"{output}.jsonl"), columns=Columns(text="output"))
    assert (tmp_path / "remote.jsonl").read_bytes() == (tmp_path / "local.jsonl").read_bytes()


def test_a_partitioned_folder_of_objects(job, memory, tmp_path):
    for day in (1, 2):
        memory.pipe_file(f"/in/day={day}/rows.jsonl", b'{"text": "row"}\n')
    job("memory://in", str(tmp_path / "out.jsonl"), keep=["day"])
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["day"] for row in found] == ["1", "2"]


@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "jsonl.zst", "csv"])
def test_an_input_whose_rows_give_the_prior_is_read_twice(job, memory, tmp_path, form, monkeypatch):
    """Once for its fingerprint and the prior's rows, once to run; what is read of a store is paid for."""
    write_jsonl(tmp_path / "rows.jsonl", [{"text": f"row {i} {i * 2**70:x}"} for i in range(3_000)])
    job(tmp_path / "rows.jsonl", str(tmp_path / f"in.{form}"), shard_rows=3_000)
    memory.put_file(str(tmp_path / f"in.{form}"), f"/in.{form}")
    read, texts, real = [], [], storage._Reader.readinto

    def counted(file, buffer):
        read.append(real(file, buffer))
        return read[-1]

    class FirstPass:
        def __init__(self, system, given, *_):
            texts.extend(given)
            self.pipeline = system.load(None)

        def plain_prior(self, kind):
            return {"shares": {"oil": 1.0, "sea": 0.0}, "intervals": {}, "said": ""}

        def with_target_prior(self, prior):
            return None

    monkeypatch.setattr(storage._Reader, "readinto", counted)
    monkeypatch.setattr("unskew.jobs.job.read_texts", FirstPass)
    given = {"columns": Columns(text="output"), "target_prior": "adaptive", "estimate_rows": 100}
    job(f"memory://in.{form}", str(tmp_path / "out.jsonl"), **given)
    assert len(texts) == 100
    assert sum(read) == 2 * (tmp_path / f"in.{form}").stat().st_size


@contextmanager
def killed_after(survived):
    """So many objects are written or deleted; the next one is the kill."""
    left = survived
    path = storage.RemotePath

    def or_die(real):
        def call(*given, **options):
            nonlocal left
            left -= 1
            if left < 0:
                raise KilledError
            return real(*given, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(path, "put", or_die(path.put))
        patch.setattr(path, "unlink", or_die(path.unlink))
        yield


@pytest.mark.parametrize("output", OUTPUTS)
def test_killed_before_every_single_write_and_deletion(job, memory, source, tmp_path, output):
    expected = of_a_local_job(job, source, tmp_path, output)
    for survived in count():
        try:
            with killed_after(survived):
                job(source, f"memory://{survived}/{output}")
            assert survived > 12
            break
        except KilledError:
            pass
        job(source, f"memory://{survived}/{output}")
        assert in_memory(f"{survived}/") == expected


def test_killed_three_times_by_the_system(job, s3, environment, source, tmp_path):
    """More kills of larger jobs: benchmarks/faults.py --s3."""
    expected = of_a_local_job(partial(job, shard_rows=10), source, tmp_path, "out/")
    options = json.dumps({"pause": 0.01, "shard_rows": 10, "progress": "none"})
    command = [sys.executable, SCRIPT, str(source), "s3://job/out/", options]
    for done in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 120
        while process.poll() is None and len(objects(s3, "job", "out/done/")) <= done and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    found = objects(s3, "job")
    assert json.loads(found.pop("out/job.json"))["finished"]["rows"] == 58
    assert found == expected


@contextmanager
def once_before(name, act):
    """Do `act` before the first call of a function of the working folder."""
    real, done = getattr(folder, name), []

    def call(*given, **options):
        if not done:
            done.append(True)
            act()
        return real(*given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, name, call)
        yield


def test_an_equal_run_at_the_same_time_costs_work_and_harms_nothing(job, s3, source, tmp_path):
    expected = of_a_local_job(job, source, tmp_path, "out/")
    with (
        once_before("store", lambda: job(source, "s3://job/out/")),
        pytest.raises(UserError, match="another run has finished or replaced the job at s3://job/out"),
    ):
        job(source, "s3://job/out/")
    assert job(source, "s3://job/out/").resumed == 60
    found = objects(s3, "job")
    assert found.pop("out/job.json")
    assert found == expected


def test_of_two_runs_that_begin_at_once_the_first_plan_holds(job, s3, source):
    def begin_another():
        with pytest.raises(KilledError), killed_after(3):
            job(source, "s3://job/out/", top_k=1)

    with (
        once_before("write_manifest", begin_another),
        pytest.raises(UserError, match="job.json was written by another process"),
    ):
        job(source, "s3://job/out/")
    with pytest.raises(UserError, match="was started differently: top_k was 1, is 5"):
        job(source, "s3://job/out/")
    assert job(source, "s3://job/out/", top_k=1).resumed == 20


def test_a_run_whose_job_is_begun_again_by_another_stores_nothing_more(job, memory, source):
    def begin_again():
        with pytest.raises(KilledError), killed_after(3):
            job(source, "memory://b/out/", top_k=1, restart=True)

    with once_before("store", begin_again), pytest.raises(UserError, match="finished or replaced the job"):
        job(source, "memory://b/out/")
    assert job(source, "memory://b/out/", top_k=1).written == 58


@pytest.mark.parametrize("moment", ["store", "finish", "join"])
@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.errors.jsonl"])
def test_an_object_that_appears_where_the_output_goes(job, memory, source, name, moment):
    with (
        once_before(moment, lambda: memory.pipe_file(f"/b/{name}", b"precious")),
        pytest.raises(UserError, match="was written by another process"),
    ):
        job(source, "memory://b/out.jsonl")
    assert memory.cat_file(f"/b/{name}") == b"precious"
    memory.rm_file(f"/b/{name}")
    assert job(source, "memory://b/out.jsonl").resumed == 60


def test_an_object_that_appears_during_the_upload_itself(job, s3, source, monkeypatch):
    """The look before it has passed: S3 itself refuses."""
    real = storage.RemotePath.put

    def put(path, *given):
        if path.name == "out.jsonl":
            s3.put_object(Bucket="job", Key=path.name, Body=b"precious")
        real(path, *given)

    monkeypatch.setattr(storage.RemotePath, "put", put)
    with pytest.raises(UserError, match="out.jsonl was written by another process"):
        job(source, "s3://job/out.jsonl")
    assert s3.get_object(Bucket="job", Key="out.jsonl")["Body"].read() == b"precious"


def test_an_input_that_changes_meanwhile(job, s3, source):
    s3.upload_file(str(source), "job", "in.jsonl")
    other = source.read_bytes().replace(b"row", b"raw")
    with (
        once_before("store", lambda: s3.put_object(Bucket="job", Key="in.jsonl", Body=other)),
        pytest.raises(UserError, match="s3://job/in.jsonl was changed while it was read"),
    ):
        job("s3://job/in.jsonl", "s3://job/out/", shard_rows=10)
    s3.upload_file(str(source), "job", "in.jsonl")
    assert job("s3://job/in.jsonl", "s3://job/out/", shard_rows=10).resumed in (0, 10)


def test_errors_run_again_and_a_job_begun_anew(job, s3, source):
    job(source, "s3://job/out.parquet")
    before = objects(s3, "job")
    summary = job(source, "s3://job/out.parquet", retry_errors=True)
    assert (summary.written, summary.bad, summary.resumed) == (58, 2, 58)
    assert objects(s3, "job")["out.parquet"] == before["out.parquet"]
    assert job(source, "s3://job/out.parquet", restart=True).resumed == 0


def test_what_stands_at_the_output(job, memory, source):
    memory.pipe_file("/b/out/thesis.tex", b"precious")
    memory.pipe_file("/b/out.jsonl", b"precious")
    with pytest.raises(UserError, match="has other contents"):
        job(source, "memory://b/out/", overwrite=True)
    with pytest.raises(UserError, match="--overwrite"):
        job(source, "memory://b/out.jsonl")
    job(source, "memory://b/other.jsonl")
    with pytest.raises(UserError, match=r"belongs to another job \(top_k was 5, is 1\)"):
        job(source, "memory://b/other.jsonl", top_k=1)
    with pytest.raises(UserError, match="is the input itself"):
        job("memory://b/other.jsonl", "memory://b/")


def test_a_bucket_that_is_not_there(fake, job, s3, source):
    with pytest.raises(UserError, match=r"there is no file s3://none/in\.jsonl"):
        job("s3://none/in.jsonl", "s3://job/out/")
    with pytest.raises(UserError, match="s3://none/out/job.json: the bucket does not exist"):
        job(source, "s3://none/out/")
    with pytest.raises(UserError, match="s3://none does not exist"):
        predict("no bundle is looked for", str(source), "s3://none/out/")


def test_no_permission_and_no_secret_in_what_is_said(job, s3, source, environment):
    def reset(count):
        headers = {"Content-Type": "text/plain"}
        address = f"{environment['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
        urllib.request.urlopen(urllib.request.Request(address, str(count).encode(), headers)).read()

    reset(0)
    try:
        with pytest.raises(UserError, match="no permission; check the credentials") as refused:
            job(source, "s3://job/out/")
    finally:
        reset("inf")
    assert not any(secret in repr(refused.value) for secret in (KEY, SECRET))


def test_no_credentials_and_no_server(job, source, environment):
    with (
        in_environment({"AWS_ACCESS_KEY_ID": "", "AWS_SHARED_CREDENTIALS_FILE": "/none"}),
        pytest.raises(UserError, match="no permission; check the credentials"),
    ):
        job(source, "s3://job/out/")
    with (
        in_environment({"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}),
        pytest.raises(UserError, match="the store does not answer"),
    ):
        job(source, "s3://job/out/")


def test_secrets_are_in_no_object_and_no_line(job, fake, s3, source, capsys, caplog):
    s3.upload_file(str(source), "job", "in.jsonl")
    settings = JobSettings("s3://job/in.jsonl", "s3://job/out.jsonl", progress="json")
    said = describe(fake.fake_system(), settings)
    run(fake.fake_system(), settings)
    said += describe_status(job_status("s3://job/out.jsonl.job")) + caplog.text + "".join(capsys.readouterr())
    said += "".join(content.decode() for content in objects(s3, "job").values())
    assert "s3://job/in.jsonl" in said
    assert not any(secret in said for secret in (KEY, SECRET))


def test_a_bundle_by_its_url(fitted, memory, tmp_path, monkeypatch):
    """Copied once; replaced, it is another one; what a worker loads is held against the fingerprint."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    memory.put(str(fitted[1]) + "/", "/bundles/one/", recursive=True)
    write_jsonl(tmp_path / "in.jsonl", [{"text": "wheat field"}] * 3)
    options = {"device": "cpu", "progress": "none"}
    predict(str(fitted[1]), str(tmp_path / "in.jsonl"), str(tmp_path / "local.jsonl"), **options)
    predict("memory://bundles/one", str(tmp_path / "in.jsonl"), "memory://b/remote.jsonl", **options)
    assert memory.cat_file("/b/remote.jsonl") == (tmp_path / "local.jsonl").read_bytes()
    copies = tmp_path / "cache" / "unskew" / "bundles"
    assert len([path for path in copies.iterdir() if path.is_dir()]) == 1
    with monkeypatch.context() as patch:
        patch.setattr(storage.RemotePath, "get", lambda *_: 1 / 0)
        predict("memory://bundles/one", str(tmp_path / "in.jsonl"), "memory://b/again.jsonl", **options)
    with pytest.raises(UserError, match="memory://bundles is not a bundle: it has no unskew.json"):
        predict("memory://bundles", str(tmp_path / "in.jsonl"), "memory://b/none.jsonl", **options)
    with replacing(any_path("memory://bundles/one/encoder/config.json")) as file:
        file.write("{}")
    with pytest.raises(UserError, match="config.json"):
        predict("memory://bundles/one", str(tmp_path / "in.jsonl"), "memory://b/none.jsonl", **options)
