"""What an on-call engineer needs: the report, the status, metrics, formats, columns kept."""

import gzip
import io
import json
import os
import subprocess
import sys

import pyarrow
import pytest
from job_results import OUTPUTS, contents, healed
from killing import KilledError

from unskew.cli.main import main
from unskew.common import UserError, read_artefact, write_jsonl
from unskew.decoder import GenerationSettings
from unskew.jobs import JobSettings, describe_status, encoding, folder, job_status, metrics, predict, run, status
from unskew.jobs.encoding import FORMATS, Layout, encode, rows_of
from unskew.jobs.manifest import JobManifest


def manifest(folder):
    return json.loads((folder / "job.json").read_text())


@pytest.mark.parametrize("output", OUTPUTS[:5])
def test_every_format_holds_the_same_rows_and_the_columns_kept(job, rows, tmp_path, output):
    job(output, keep=["team", "more.n", "more"])
    found = contents(tmp_path / output)
    kept = [row for i, row in enumerate(rows) if i not in (5, 17, 25)]
    assert [row["id"] for row in found] == [row["id"] for row in kept]
    assert list(found[0]) == ["id", "topic", "confidence", "topics", "output", "team", "more.n", "more"]
    text = output.endswith((".csv", ".parquet"))
    for row, asked in zip(found, kept, strict=True):
        number, whole = asked["more"]["n"], asked["more"]
        assert row["team"] == asked["team"]
        assert (row["more.n"], row["more"]) == ((str(number), json.dumps(whole)) if text else (number, whole))


def test_columns_that_results_have_of_their_own_cannot_be_kept(job, rows):
    with pytest.raises(UserError, match="'topic', but results have"):
        job(keep=["team", "topic"])
    with pytest.raises(UserError, match="no column 'none'.* with keep$"):
        job(keep=["none"])


@pytest.mark.parametrize("form", FORMATS)
def test_rows_read_back_give_the_same_bytes(form):
    layout = Layout(form, sets=True, keep=("k",))
    made = [
        {"id": text, "topic": topic, "confidence": 0.1 + 0.2, "topics": {"a,b": 0.3, 'c"': 1e-300}, "output": text,
         "topic_set": ["a,b"], "k": kept}
        for text, topic, kept in [("\r", "a", 3), ("x\ny\0", None, {"n": [1, None]}), ("\u2028, \"'", "é", "text")]
    ]  # fmt: skip
    once = encode(made, layout)
    assert encode(list(rows_of(io.BytesIO(once), layout)), layout) == once
    assert list(rows_of(io.BytesIO(encode([], layout)), layout)) == []


def test_row_groups_of_a_joined_file_do_not_grow_with_the_shards(job, rows, tmp_path, monkeypatch):
    job("one.parquet", shard_rows=3)
    with pyarrow.parquet.ParquetFile(tmp_path / "one.parquet") as found:
        assert found.num_row_groups == 1
    monkeypatch.setattr(encoding, "_GROUP_ROWS", 10)
    job("some.parquet", shard_rows=3)
    with pyarrow.parquet.ParquetFile(tmp_path / "some.parquet") as found:
        sizes = [found.metadata.row_group(i).num_rows for i in range(found.num_row_groups)]
        assert all(10 <= size < 13 for size in sizes[:-1])
        assert len(sizes) > 1
    assert contents(tmp_path / "some.parquet") == contents(tmp_path / "one.parquet")


def test_the_report_of_a_job(fake, job, rows, tmp_path):
    job(min_confidence=0.75)
    found = read_artefact(tmp_path / "out.jsonl.job" / "job.json", JobManifest, 1)
    report = found.report
    assert (report.input_rows, report.output_rows, report.error_rows) == (40, 37, 3)
    undecided = [row for row in contents(tmp_path / "out.jsonl") if row["topic"] is None]
    assert report.undecided_rows == len(undecided) > 0
    assert report.topics["oil"].rows == 37
    assert report.shift == pytest.approx(0.1)  # all oil, where it was nine rows of ten
    assert report.peak_memory > 10**7
    assert found.finished.rows == report.output_rows
    assert not any({"cost", "topics", "undecided"} & set(shard) for shard in found.plain()["shards"])


def test_the_report_counts_tokens_and_seconds_of_both_stages(fitted, corpus, tmp_path):
    short = GenerationSettings(max_new_tokens=3)
    predict(fitted[1], str(corpus / "test.jsonl"), tmp_path / "out", generation=short, device="cpu", shard_rows=8)
    stages = manifest(tmp_path / "out")["report"]["stages"]
    assert stages["encoder"]["rows"] == stages["decoder"]["rows"] == 30
    texts = [json.loads(line)["text"] for line in (corpus / "test.jsonl").read_text().splitlines()]
    tokens = sum(len(fitted[0].encoder.tokenizer(text)["input_ids"]) for text in texts)
    assert stages["encoder"]["tokens_read"] == tokens
    assert stages["decoder"]["tokens_read"] > tokens
    assert 30 <= stages["decoder"]["tokens_written"] <= 90
    assert stages["encoder"]["tokens_written"] == 0
    assert all(stage["seconds"] > 0 and stage["tokens_per_second"] > 0 for stage in stages.values())


def test_a_job_holds_sums_and_not_the_topics_of_each_shard(job, rows, tmp_path, monkeypatch):
    """Else its memory would grow with its rows: a shard may have as many topics as rows."""
    held, real = [], folder.finish

    def killed(*given):
        held.append(given[2])
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(folder, "finish", killed)
        for _ in ("begun", "resumed"):
            with pytest.raises(KilledError):
                job()
    monkeypatch.setattr(folder, "finish", lambda *given: (held.append(given[2]), real(*given)))
    assert job(retry_errors=True).written == 37
    assert [len(shards) for shards in held] == [4, 4, 4]
    assert not any({"topics", "undecided", "cost"} & set(record) for shards in held for record in shards)
    report = manifest(tmp_path / "out.jsonl.job")["report"]
    assert sum(topic["rows"] for topic in report["topics"].values()) == 37
    assert report["seconds"] > 0


def test_rows_that_do_not_add_up_end_the_job(job, rows, tmp_path, monkeypatch):
    real = folder.finished_shards
    monkeypatch.setattr(folder, "finish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        job()
    monkeypatch.undo()

    def one_row_less(*given):
        records, totals = real(*given)
        return {index: {**record, "rows": record["rows"] - 1} for index, record in records.items()}, totals

    monkeypatch.setattr(folder, "finished_shards", one_row_less)
    with pytest.raises(UserError, match="do not add up"):
        job()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_shift": 0.09}, "0.100 away from the training set's"),
        ({"min_confidence": 1.0, "max_undecided": 0.5}, "100.0% of the rows are undecided"),
        ({"max_shift": 0.11, "max_undecided": 0.5}, None),
    ],
)
def test_drift_is_said(job, rows, caplog, options, said):
    summary = job(**options)
    assert len(summary.drift) == (said is not None)
    assert said is None or (said in summary.drift[0] and said in caplog.text)
    assert job(**options).drift == summary.drift


def test_drift_has_an_exit_code_of_its_own(fitted, tmp_path, capsys):
    write_jsonl(tmp_path / "in.jsonl", [{"text": "goal keeper league", "team": "a"}] * 9)
    given = ["--model", fitted[1], "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.csv", "--keep", "team"]
    options = ["--generation.max_new_tokens", "2", "--device", "cpu", "--max_shift", "0.2", "--metrics",
               tmp_path / "job.prom", "--target_prior", "uniform"]  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        main(["predict", *map(str, [*given, *options])])
    assert ended.value.code == 4, capsys.readouterr().err
    assert {row["team"] for row in contents(tmp_path / "out.csv")} == {"a"}
    said = (tmp_path / "job.prom").read_text()
    assert f'unskew_job_rows_total{{output="{tmp_path / "out.csv"}"}} 9.0' in said
    assert 'stage="decoder"' in said
    assert f'unskew_job_finished{{output="{tmp_path / "out.csv"}"}} 1.0' in said


def test_metrics_that_cannot_be_written_are_refused_before_the_work(fake, job, rows, tmp_path):
    with pytest.raises(UserError, match=r"cannot write .*none/job\.prom"):
        job(metrics=str(tmp_path / "none" / "job.prom"))
    assert not (tmp_path / "out.jsonl").exists()


def test_metrics_that_can_no_longer_be_written_are_tried_seldom_and_said_once(tmp_path, monkeypatch, caplog):
    folder, clock = tmp_path / "collector", [100.0]
    folder.mkdir()
    monkeypatch.setattr(metrics.time, "monotonic", lambda: clock[0])
    file = metrics.MetricsFile(folder / "job.prom", "out.jsonl", None)
    tried, real = [], file._write
    monkeypatch.setattr(file, "_write", lambda: (tried.append(clock[0]), real()))
    (folder / "job.prom").unlink()
    folder.rmdir()
    for _ in range(79):
        clock[0] += 0.25
        file.tell(1, 0)
    assert len(tried) == 3
    folder.mkdir()
    clock[0] += metrics.EVERY
    file.tell(1, 0)
    assert 'unskew_job_rows_total{output="out.jsonl"} 80.0' in (folder / "job.prom").read_text()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "No such file or directory; the job goes on" in said[0]
    assert said[1].endswith("job.prom is written again")


def test_metrics_count_rows_that_run_again_once(fake, job, rows, tmp_path):
    file = tmp_path / "job.prom"

    def counted(name):
        return next(float(line.split()[1]) for line in file.read_text().splitlines() if line.startswith(f"{name}{{"))

    job(metrics=str(file))
    assert (counted("unskew_job_rows_total"), counted("unskew_job_errors_total")) == (40, 3)
    with healed(fake, "row 17"):
        job(metrics=str(file), retry_errors=True)
    assert (counted("unskew_job_rows_total"), counted("unskew_job_errors_total")) == (40, 2)


def test_the_status_of_a_job_that_runs_was_interrupted_and_has_ended(job, rows, tmp_path, monkeypatch, capsys):
    seen = []
    real = folder.store

    def store(*given):
        seen.append(job_status(str(tmp_path / "out.jsonl")))
        if len(seen) == 3:
            raise KilledError
        return real(*given)

    monkeypatch.setattr(folder, "store", store)
    with pytest.raises(KilledError):
        job()
    monkeypatch.undo()
    running, interrupted = seen[-1], job_status(str(tmp_path / "out.jsonl.job"))
    assert (running["state"], interrupted["state"]) == ("running", "interrupted")
    assert running["held_by"].startswith(f"process {os.getpid()} of")
    assert (interrupted["rows"] + interrupted["errors"], interrupted["input_rows"]) == (20, 40)
    assert interrupted["seconds_left"] is not None
    job()
    with pytest.raises(SystemExit) as ended:
        main(["job", "status", str(tmp_path / "out.jsonl"), "--json"])
    status = json.loads(capsys.readouterr().out)
    assert (ended.value.code, status["state"], status["rows"], status["errors"]) == (0, "finished", 37, 3)
    assert "37 rows" not in describe_status(status)
    assert "40 of 40 done in 4 shards" in describe_status(status)


@pytest.mark.parametrize("moment", ["finished_shards", "_pace"])
def test_the_status_of_a_job_that_ends_while_it_is_read(job, rows, tmp_path, monkeypatch, moment):
    def killed(*_):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(folder, "finish", killed)
        with pytest.raises(KilledError):
            job()
    real = getattr(status, moment)

    def ends_first(*given):
        monkeypatch.undo()
        job()
        return real(*given)

    monkeypatch.setattr(status, moment, ends_first)
    found = job_status(str(tmp_path / "out.jsonl"))
    assert (found["state"], found["rows"], found["errors"], found["shards"]) == ("finished", 37, 3, 4)


@pytest.mark.parametrize("words", [["status"], ["stop", "x"], ["status", "none"], ["status", "a", "b"]])
def test_a_status_of_nothing_is_one_line(capsys, words):
    with pytest.raises(SystemExit) as ended:
        main(["job", *words])
    assert ended.value.code == 2
    assert capsys.readouterr().err.strip().count("\n") == 0


def test_logs_as_json(tmp_path):
    """In a process of its own, whose logging nobody else has set up."""
    script = (
        "from unskew.cli.logs import log_as_json, log_plainly, say\n"
        "import logging\n"
        "log_plainly(); log_as_json(); logging.getLogger('unskew').warning('one'); say('two')"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert [json.loads(line)["message"] for line in found.stderr.splitlines()] == ["one", "two"]


def test_compressed_input_has_a_total(fake, rows, tmp_path):
    content = (tmp_path / "in.jsonl").read_bytes()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(content))
    (tmp_path / "b.jsonl.zst").write_bytes(pyarrow.Codec("zstd").compress(content, asbytes=True))
    summary = run(
        fake.fake_system(),
        JobSettings(
            [str(tmp_path / name) for name in ("a.jsonl.gz", "b.jsonl.zst")], str(tmp_path / "out"), shard_rows=9
        ),
    )
    assert summary.written + summary.bad == 80
    assert manifest(tmp_path / "out")["input_rows"] == 80
