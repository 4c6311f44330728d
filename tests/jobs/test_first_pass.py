"""The first pass of a job: its rows are read once, and its results are those of a job without it."""

import json
import logging

import pytest

from unskew.common import write_jsonl
from unskew.corpus import Topics
from unskew.decoder import GenerationSettings
from unskew.encoder import TopicEncoder
from unskew.jobs import JobSettings, first_pass, open_model, run
from unskew.jobs.report import Totals, summarise
from unskew.pipeline import HybridPipeline


@pytest.fixture
def source(tmp_path, make_rows):
    rows = list(make_rows({"harvest": 9, "harbour": 30, "football": 31}, 5, "job"))
    rows[13]["text"] = " "  # cannot be read
    write_jsonl(tmp_path / "in.jsonl", rows)
    return tmp_path / "in.jsonl"


@pytest.fixture
def read_texts(monkeypatch):
    """The texts that encoders have read, and the systems that were loaded."""
    texts, loads = [], []
    logits, load = TopicEncoder.logits, HybridPipeline.from_pretrained.__func__
    monkeypatch.setattr(TopicEncoder, "logits", lambda self, held: texts.extend(held) or logits(self, held))
    monkeypatch.setattr(
        HybridPipeline, "from_pretrained", classmethod(lambda cls, *a, **k: loads.append(a) or load(cls, *a, **k))
    )
    return texts, loads


def run_job(fitted, source, name, **options):
    output = source.with_name(name)
    settings = {"target_prior": "adaptive", "shard_rows": 32, "limit": 70, "progress": "none", **options}
    settings["generation"] = GenerationSettings(max_new_tokens=2)
    run(open_model(str(fitted[1]), "cpu"), JobSettings(str(source), str(output), **settings))
    manifest = json.loads((source.parent / f"{name}.job" / "job.json").read_text())
    return output.read_bytes(), manifest


def test_each_row_is_read_once_and_the_bundle_loaded_once(fitted, source, read_texts):
    _, manifest = run_job(fitted, source, "out.jsonl")
    texts, loads = read_texts
    assert len(texts) == 69
    assert len(loads) == 1
    used = manifest["report"]["stages"]["encoder"]
    assert (used["rows"], manifest["report"]["error_rows"]) == (69, 1)
    assert used["seconds"] > 0


def test_the_results_are_those_of_a_job_with_that_prior(fitted, source, monkeypatch):
    found, manifest = run_job(fitted, source, "out.jsonl", sets=0.2)
    given, _ = run_job(fitted, source, "given.jsonl", target_prior=manifest["prior"]["shares"], sets=0.2)
    monkeypatch.setattr(first_pass, "MOST_KEPT", 0)
    unkept, _ = run_job(fitted, source, "unkept.jsonl", sets=0.2)
    assert found == given == unkept


def test_rows_that_had_to_be_read_apart_are_read_again(fitted, source, monkeypatch):
    expected, _ = run_job(fitted, source, "out.jsonl")
    logits, left = TopicEncoder.logits, [1]

    def fails_once(self, texts):
        if left[0]:
            left[0] -= 1
            raise MemoryError
        return logits(self, texts)

    monkeypatch.setattr(TopicEncoder, "logits", fails_once)
    found, _ = run_job(fitted, source, "again.jsonl")
    assert found == expected


def test_a_panic_in_the_first_pass_ends_in_the_error_file(fitted, source, monkeypatch):
    logits = TopicEncoder.logits
    culprit = json.loads(source.read_text().splitlines()[7])["text"]

    class Panic(BaseException):
        """As the panics of the tokenizers' Rust code, which are no `Exception`."""

    def panics(self, texts):
        if culprit in texts:
            raise Panic("index out of bounds")
        return logits(self, texts)

    monkeypatch.setattr(TopicEncoder, "logits", panics)
    _, manifest = run_job(fitted, source, "out.jsonl")
    assert manifest["report"]["error_rows"] == 2
    assert "Panic: index out of bounds" in (source.parent / "out.jsonl.errors.jsonl").read_text()


def test_the_pass_over_the_rows_is_shown_and_counts_in_the_time_of_the_job(fitted, source, caplog):
    with caplog.at_level(logging.INFO, "unskew"):
        _, manifest = run_job(fitted, source, "out.jsonl", progress="auto")
    lines = [record.message for record in caplog.records]
    assert any(line.startswith("stage 1: 70 of 70 rows, ") for line in lines)
    report = manifest["report"]
    assert report["seconds"] >= report["stages"]["encoder"]["seconds"] - 0.001  # rounded
    assert report["rows_per_second"] <= 70 / report["stages"]["encoder"]["seconds"]


def test_a_pass_over_a_sample_counts_in_the_time_of_a_job_that_resumes(fitted, source, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("unskew.jobs.job.folder.finish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_job(fitted, source, "out.jsonl", estimate_rows=40)
    path = source.parent / "out.jsonl.job" / "job.json"
    manifest = json.loads(path.read_text())
    assert manifest["prior"]["seconds"] > 0
    manifest["prior"]["seconds"] = 1000.0
    path.write_text(json.dumps(manifest))
    _, manifest = run_job(fitted, source, "out.jsonl", estimate_rows=40)
    assert manifest["report"]["seconds"] > 1000


def test_rows_that_run_again_do_not_count_the_sample_twice():
    topics = Topics(("oil", "sea"), (9, 1))
    first = summarise([], Totals(), topics, None, 2.0)
    assert first["seconds"] == summarise([], Totals(), topics, first, 2.0)["seconds"] == 2
