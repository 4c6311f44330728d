"""A batch job with real models: every row is accounted for, in its order."""

import json
from dataclasses import replace
from itertools import count

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from killing import KilledError

from unskew.cli.main import main
from unskew.common import UserError, write_jsonl
from unskew.decoder import GenerationSettings
from unskew.jobs import job as running
from unskew.jobs import predict
from unskew.pipeline import HybridPipeline, fit

SHORT = GenerationSettings(max_new_tokens=3)
NASTY = [
    "<|topic:harvest|> wheat <force_fairness> <|topic:football|>",
    "<s></s><unk><pad><mask>[CLS][SEP]<|endoftext|>",
    "wheat\x00barley",
    "\x00",
    "\ud83c wheat",
    "\udf3e",
    "\ufeff\u200b\u202e",
    "🌾🚜" * 50,
    "﷽" * 200,
    "a\u0301" * 300,
    "word " * 5000,
    "x" * 50_000,
    " \t\n\u2003",
    "",
    '{"text": "wheat"}',
    "\r\n",
    "NaN",
]
ROW = st.one_of(
    st.sampled_from(NASTY).map(lambda text: json.dumps({"id": "same", "text": text}).encode()),
    st.text(max_size=30).map(lambda text: json.dumps({"text": text}, ensure_ascii=True).encode()),
    st.binary(max_size=30).filter(lambda line: b"\n" not in line and line.strip()),
    st.sampled_from(
        [
            b"{",
            b"[1]",
            b"null",
            b'{"text": 1}',
            b'{"text": ["a"]}',
            b'{"id": {}, "text": "a"}',
            b'{"id": 7.0, "text": "a"}',
        ]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\n\r\x00"), min_size=1, max_size=40).map(
        lambda text: json.dumps({"id": text, "text": f"wheat {text}"}, ensure_ascii=False).encode()
    ),
)


def read(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def job(fitted, tmp_path):
    """Runs a job of the fitted bundle from `in.jsonl`."""

    def run(output="out.jsonl", source="in.jsonl", **options):
        options = {"generation": SHORT, "device": "cpu", "progress": "none"} | options
        return predict(fitted[1], str(tmp_path / source), tmp_path / output, **options)

    return run


@pytest.fixture
def rows(corpus, tmp_path):
    (tmp_path / "in.jsonl").write_bytes((corpus / "test.jsonl").read_bytes())
    return read(tmp_path / "in.jsonl")


def test_rows_come_out_in_order_and_as_the_pipeline_says(fitted, job, rows, tmp_path):
    summary = job(shard_rows=7, target_prior="uniform")
    written = read(tmp_path / "out.jsonl")
    pipeline = HybridPipeline.from_pretrained(fitted[1], "cpu")
    expected = list(pipeline([row["text"] for row in rows], generation=SHORT))
    assert [row["id"] for row in written] == [row["id"] for row in rows]
    assert [(row["topic"], row["output"]) for row in written] == [(one.topic, one.output) for one in expected]
    assert [row["confidence"] for row in written] == pytest.approx([one.confidence for one in expected], abs=1e-5)
    assert set(written[0]) == {"id", "topic", "confidence", "topics", "output"}
    assert (summary.written, summary.bad) == (30, 0)
    assert not (tmp_path / "out.jsonl.errors.jsonl").exists()


def test_parquet_and_a_folder_hold_the_same_rows(job, rows, tmp_path):
    for output in ("out.jsonl", "out.parquet", "folder"):
        job(output, shard_rows=8)
    lines = read(tmp_path / "out.jsonl")
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [{**row, "topics": {p["topic"]: p["probability"] for p in row["topics"]}} for row in table] == lines
    parts = sorted((tmp_path / "folder").glob("part-*.jsonl"))
    assert [len(read(part)) for part in parts] == [8, 8, 8, 6]
    assert [row for part in parts for row in read(part)] == lines
    manifest = json.loads((tmp_path / "folder" / "job.json").read_text())
    assert [shard["rows"] for shard in manifest["shards"]] == [8, 8, 8, 6]


def test_bad_rows_are_set_apart_and_nothing_else_is_lost(job, tmp_path):
    lines = [
        b'{"id": "a", "text": "wheat field"}',
        b'{"id": "b", "text": ""}',
        b'{"id": "c"}',
        b"not json",
        b'{"id": "d", "text": "caf\xe9"}',
        b'{"id": "e", "text": "tide \\u0000 crane"}',
        b'{"id": "f", "text": 7}',
    ]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    summary = job(shard_rows=2)
    assert [row["id"] for row in read(tmp_path / "out.jsonl")] == ["a", "e"]
    errors = read(tmp_path / "out.jsonl.errors.jsonl")
    assert [row["line"] for row in errors] == [2, 3, 4, 5, 7]
    assert all(row["reason"] and row["file"].endswith("in.jsonl") for row in errors)
    assert "2:" in str(summary)
    assert (summary.written, summary.bad) == (2, 5)


# Not shrunk: a whole job runs for each example.
@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.large_base_example],
)
@given(st.lists(ROW, min_size=100, max_size=100))
def test_fuzzed_rows_are_all_accounted_for(job, tmp_path, lines):
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    job(shard_rows=30, overwrite=True)
    errors = tmp_path / "out.jsonl.errors.jsonl"
    good, bad = read(tmp_path / "out.jsonl"), read(errors) if errors.exists() else []
    assert len(good) + len(bad) == 100
    assert {row["topic"] for row in good} <= {"harvest", "harbour", "football"}


def test_undecided_rows(job, rows, tmp_path):
    job(min_confidence=1.0)
    assert {(row["topic"], row["output"]) for row in read(tmp_path / "out.jsonl")} == {(None, None)}
    job("written.jsonl", min_confidence=1.0, write_undecided=True, limit=3)
    assert [row["topic"] for row in read(tmp_path / "written.jsonl")] == [None] * 3
    assert all(isinstance(row["output"], str) for row in read(tmp_path / "written.jsonl"))


@pytest.mark.parametrize("output", ["sets.jsonl", "sets.parquet"])
def test_rows_have_sets_where_they_are_asked_for(job, rows, tmp_path, output):
    job(output, sets=0.2, limit=6, shard_rows=3)
    found = pq.read_table(tmp_path / output) if output.endswith("parquet") else None
    rows_ = read(tmp_path / output) if found is None else found.to_pylist()
    assert len(rows_) == 6
    assert all(row["topic"] in list(row["topic_set"]) for row in rows_)


def test_an_estimated_prior_is_kept_by_a_resumed_run(job, rows, tmp_path, make_rows, monkeypatch):
    write_jsonl(tmp_path / "in.jsonl", make_rows({"harvest": 5, "harbour": 50, "football": 60}, 5, "job"))
    monkeypatch.setattr("unskew.jobs.folder.finish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        job(target_prior="estimate", shard_rows=50)
    monkeypatch.undo()
    prior = json.loads((tmp_path / "out.jsonl.job" / "job.json").read_text())["prior"]
    assert prior["shares"]["football"] > prior["shares"]["harvest"]
    assert "training prior" in prior["said"]
    monkeypatch.setattr("unskew.jobs.job.read_texts", lambda *_: 1 / 0)
    assert job(target_prior="estimate", shard_rows=50).resumed == 115
    job("given.jsonl", target_prior=prior["shares"], shard_rows=50)
    assert read(tmp_path / "given.jsonl") == read(tmp_path / "out.jsonl")


def test_priors_by_file(job, rows, tmp_path):
    (tmp_path / "prior.json").write_text('{"football": 1}')
    job(target_prior=str(tmp_path / "prior.json"))
    assert {row["topic"] for row in read(tmp_path / "out.jsonl")} == {"football"}
    for text in ("[1]", "{", '{"football": "much"}'):
        (tmp_path / "prior.json").write_text(text)
        with pytest.raises(UserError, match="shares by topic"):
            job("other.jsonl", target_prior=str(tmp_path / "prior.json"))
    with pytest.raises(UserError, match="no such file"):
        job("other.jsonl", target_prior="unifrom")


def test_another_bundle_is_refused(job, rows, fitted, tmp_path, monkeypatch):
    monkeypatch.setattr("unskew.jobs.folder.finish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        job()
    monkeypatch.undo()
    HybridPipeline.from_pretrained(fitted[1], "cpu", merge=False).with_target_prior("train").save_pretrained(
        tmp_path / "other"
    )
    with pytest.raises(UserError, match="the bundle has other contents.*--restart"):
        predict(tmp_path / "other", str(tmp_path / "in.jsonl"), tmp_path / "out.jsonl", generation=SHORT, device="cpu")
    with pytest.raises(UserError, match="precision was 'float32', is 'bfloat16'"):
        job(precision="bfloat16")
    assert job().resumed == 30


def test_the_command_in_either_spelling(fitted, rows, tmp_path, capsys):
    def call(*options):
        paths = ["--model", fitted[1], "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl"]
        with pytest.raises(SystemExit) as ended:
            main(["predict", *map(str, paths), "--device", "cpu", "--progress", "none", *options])
        return ended.value.code, *capsys.readouterr()

    options = ["--top-k=2", "--target-prior", "train", "--generation.max-new-tokens", "2", "--limit", "9"]
    code, out, _ = call(*options, "--dry-run")
    assert (code, [path.name for path in tmp_path.iterdir()]) == (0, ["in.jsonl"])
    assert "9 rows (limit 9)" in out
    assert "3 topics; cpu, float32" in out
    code, out, err = call(*options, "--overwrite")
    assert code == 0, err
    assert "9 rows written" in out
    assert {len(row["topics"]) for row in read(tmp_path / "out.jsonl")} == {2}
    assert "9 rows had been done before" in call(*options)[1]
    assert call(*options, "--top_k", "3")[0] == 2
    (tmp_path / "in.jsonl").write_text('{"text": "wheat"}\n{}\n')
    assert call("--overwrite", "--write-undecided")[0] == 3


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"fairness": True}, "--decoder.fairness true"),
        ({"generation": replace(SHORT, guidance=2.0)}, "topic_dropout"),
        ({"generation": replace(SHORT, max_new_tokens=5000)}, "5,000, but the decoder's base has 4,096 positions"),
    ],
)
def test_what_the_decoder_cannot_do_is_refused_before_the_models_are_loaded(
    fitted, rows, tmp_path, monkeypatch, options, remedy
):
    monkeypatch.setattr(HybridPipeline, "from_pretrained", None)
    with pytest.raises(UserError, match=remedy):
        predict(fitted[1], str(tmp_path / "in.jsonl"), tmp_path / "out.jsonl", device="cpu", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_guided_job_that_was_killed_writes_what_a_whole_one_does(tiny, rows, tmp_path, monkeypatch):
    decoder = replace(tiny.decoder, topic_dropout=0.2)
    fit(replace(tiny, decoder=decoder), tmp_path / "bundle")

    def job(output, guidance=3.0):
        options = {"generation": GenerationSettings(6, guidance=guidance), "target_prior": "uniform", "shard_rows": 7}
        where = tmp_path / "in.jsonl", tmp_path / output
        return predict(tmp_path / "bundle", str(where[0]), where[1], device="cpu", progress="none", **options)

    job("whole.jsonl")
    whole, calls = running.predict_shard, count(1)

    def killed(*given, **options):
        if next(calls) == 3:
            raise KilledError
        return whole(*given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(running, "predict_shard", killed)
        with pytest.raises(KilledError):
            job("cut.jsonl")
    assert not (tmp_path / "cut.jsonl").exists()
    assert job("cut.jsonl").resumed == 14
    assert (tmp_path / "cut.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    job("plain.jsonl", guidance=1.0)
    assert [row["output"] for row in read(tmp_path / "plain.jsonl")] != [
        row["output"] for row in read(tmp_path / "whole.jsonl")
    ]
