"""Predict and evaluate over files: every row is accounted for."""

import json

import pytest

from unskew.corpus import UserError, write_jsonl
from unskew.decoder import GenerationSettings
from unskew.pipeline import evaluate, predict

SHORT = GenerationSettings(max_new_tokens=6)


def read(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_rows_come_out_in_order(fitted, corpus, tmp_path):
    summary = predict(fitted[0], str(corpus / "test.jsonl"), tmp_path / "out.jsonl", generation=SHORT)
    written = read(tmp_path / "out.jsonl")
    assert [row["id"] for row in written] == [row["id"] for row in read(corpus / "test.jsonl")]
    assert set(written[0]) == {"id", "topic", "confidence", "topics", "output"}
    assert (summary.written, summary.bad) == (30, 0)
    assert not (tmp_path / "out.jsonl.errors.jsonl").exists()


def test_bad_rows_are_set_apart_and_nothing_else_is_lost(fitted, tmp_path):
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
    summary = predict(fitted[0], str(tmp_path / "in.jsonl"), tmp_path / "out.jsonl", generation=SHORT)
    assert [row["id"] for row in read(tmp_path / "out.jsonl")] == ["a", "e"]
    errors = read(tmp_path / "out.jsonl.errors.jsonl")
    assert [row["line"] for row in errors] == [2, 3, 4, 5, 7]
    assert all(row["reason"] for row in errors)
    assert "line 2" in str(summary)
    assert (summary.written, summary.bad) == (2, 5)


def test_existing_output_is_refused(fitted, corpus, tmp_path):
    (tmp_path / "out.jsonl").write_text("precious")
    with pytest.raises(UserError, match="overwrite"):
        predict(fitted[0], str(corpus / "test.jsonl"), tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == "precious"
    predict(fitted[0], str(corpus / "test.jsonl"), tmp_path / "out.jsonl", generation=SHORT, limit=3, overwrite=True)
    assert len(read(tmp_path / "out.jsonl")) == 3


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("out.jsonl", {"limit": 0}, "limit"),
        ("out.csv", {}, "JSON lines"),
        ("in.jsonl", {"overwrite": True}, "input itself"),
    ],
)
def test_refused_before_anything_is_written(fitted, tmp_path, name, options, reason):
    (tmp_path / "in.jsonl").write_text('{"text": "wheat"}')
    with pytest.raises(UserError, match=reason):
        predict(fitted[0], str(tmp_path / "in.jsonl"), tmp_path / name, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_unlabelled_rows_are_counted(fitted, corpus, tmp_path):
    lines = (corpus / "test.jsonl").read_text() + '{"text": "wheat"}\n'
    (tmp_path / "in.jsonl").write_text(lines)
    found = evaluate(fitted[0], str(tmp_path / "in.jsonl"), tmp_path / "evaluation", generation=SHORT)
    assert (found.rows, found.left_out) == (30, 1)


def test_newsroom_of_other_topics_is_refused(fitted, corpus, tmp_path):
    (tmp_path / "newsroom.json").write_text('{"difficulty": 0.5, "seed": 0}')
    with pytest.raises(UserError, match="topics are not those"):
        evaluate(fitted[0], str(corpus / "test.jsonl"), tmp_path / "evaluation", newsroom=tmp_path / "newsroom.json")


def test_a_fault_in_the_middle_leaves_no_half_file(fitted, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("unskew.pipeline.hybrid.HybridPipeline._window", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict(fitted[0], str(corpus / "test.jsonl"), tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_empty_input(fitted, tmp_path):
    (tmp_path / "in.jsonl").write_text("")
    assert predict(fitted[0], str(tmp_path / "in.jsonl"), tmp_path / "out.jsonl").written == 0
    assert (tmp_path / "out.jsonl").read_text() == ""


def test_evaluation(fitted, corpus, tmp_path):
    found = evaluate(
        fitted[0],
        str(corpus / "test.jsonl"),
        tmp_path / "evaluation",
        train=str(corpus / "train.jsonl"),
        generation=SHORT,
    )
    stored = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    assert stored["topics"] == found.topics
    assert stored["rows"] == 30
    predictions = read(tmp_path / "evaluation" / "predictions.jsonl")
    right = sum(row["topic"] == row["true_topic"] for row in predictions) / 30
    assert stored["topics"]["accuracy"] == pytest.approx(right)
    assert set(stored["outputs"]) >= {"rouge1", "rouge2", "rougeL", "chrf", "topic_fit"}
    assert stored["examples"][0]["true_topic"] == "football"
    assert (tmp_path / "evaluation" / "evaluation.png").stat().st_size > 10_000


def test_topic_unseen_in_training_is_named(fitted, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", [{"text": "rain", "topic": "weather"}, {"text": "wheat", "topic": "harvest"}])
    with pytest.raises(UserError, match="weather"):
        evaluate(fitted[0], str(tmp_path / "in.jsonl"), tmp_path / "evaluation")


def test_measuring_on_training_rows_is_refused(fitted, corpus, tmp_path):
    with pytest.raises(UserError, match="also stand in"):
        evaluate(fitted[0], str(corpus / "train.jsonl"), tmp_path / "evaluation", train=str(corpus / "train.jsonl"))
