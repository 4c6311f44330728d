"""Evaluation over files: what is measured, and what is refused."""

import json
from collections import Counter

import pytest

from unskew.balance import DecisionSettings
from unskew.common import UserError, write_jsonl
from unskew.decoder import GenerationSettings
from unskew.evaluation import audit, evaluate, evaluate_system, plots

SHORT = GenerationSettings(max_new_tokens=6)


def read(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_unlabelled_rows_are_counted_and_each_pass_over_the_others_is_shown(fitted, corpus, tmp_path, caplog):
    caplog.set_level("INFO", "unskew")
    lines = (corpus / "test.jsonl").read_text() + '{"text": "wheat"}\n'
    (tmp_path / "in.jsonl").write_text(lines)
    found = evaluate(fitted[0], str(tmp_path / "in.jsonl"), tmp_path / "evaluation", generation=SHORT)
    assert (found.rows, found.left_out) == (30, 1)
    shown = [line.partition(", ")[0] for line in caplog.messages if "rows/s" in line]
    assert shown == ["stage 1: 30 of 30 rows", "evaluate: 30 of 30 rows"]


def test_newsroom_of_other_topics_is_refused(fitted, corpus, tmp_path):
    (tmp_path / "newsroom.json").write_text('{"difficulty": 0.5, "seed": 0}')
    with pytest.raises(UserError, match="topics differ from those"):
        evaluate(fitted[0], str(corpus / "test.jsonl"), tmp_path / "evaluation", newsroom=tmp_path / "newsroom.json")


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


def test_the_picture_shows_what_was_decided(fitted, corpus, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "_shares", lambda axes, rows, topics: shown.append(rows))
    test, costly = str(corpus / "test.jsonl"), DecisionSettings(costs={"football": {"harvest": 1e6}})
    evaluate(fitted[0].with_decision(costly), test, tmp_path / "costly", generation=SHORT)
    names = fitted[0].topics.names
    decided = Counter(row["topic"] for row in read(tmp_path / "costly" / "predictions.jsonl"))
    assert dict(zip(names, shown[0].sum(0).tolist(), strict=True)) == {name: decided[name] for name in names}
    bar = DecisionSettings(min_confidence=1.0)
    evaluate(fitted[0].with_decision(bar), test, tmp_path / "undecided", generation=SHORT)
    assert shown[1].sum() == 0


def test_a_prediction_has_few_topics_and_all_that_an_audit_needs(fitted, corpus, tmp_path, monkeypatch):
    """All of thousands of topics, for each row, would be gigabytes."""
    monkeypatch.setattr(evaluate_system, "TOP_K", 1)
    test, pipeline = str(corpus / "test.jsonl"), fitted[0]
    found = evaluate(pipeline, test, tmp_path / "all", generation=SHORT)
    predictions = read(tmp_path / "all" / "predictions.jsonl")
    bar = sorted(row["confidence"] for row in predictions)[15]
    evaluate(pipeline.with_decision(DecisionSettings(min_confidence=bar)), test, tmp_path / "sure", generation=SHORT)
    unsure = [row for row in read(tmp_path / "sure" / "predictions.jsonl") if row["topic"] is None]
    assert unsure
    for row in [*predictions, *unsure]:
        assert set(row["topics"]) >= {row["true_topic"], row["topic"]} - {None}
        assert len(row["topics"]) <= 2
        assert list(row["topics"].values()) == sorted(row["topics"].values(), reverse=True)
    audited = audit(str(tmp_path / "all" / "predictions.jsonl"), test)
    assert not audited.problems.get("spread")
    assert audited.metrics["nll"] == pytest.approx(found.topics["nll"], rel=1e-4)
    assert audited.metrics["ece"] == pytest.approx(found.topics["ece"], rel=1e-4)


def test_topic_unseen_in_training_is_named(fitted, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", [{"text": "rain", "topic": "weather"}, {"text": "wheat", "topic": "harvest"}])
    with pytest.raises(UserError, match="weather"):
        evaluate(fitted[0], str(tmp_path / "in.jsonl"), tmp_path / "evaluation")


def test_measuring_on_training_rows_alone_is_refused(fitted, corpus, tmp_path):
    with pytest.raises(UserError, match="no row is left to measure"):
        evaluate(fitted[0], str(corpus / "train.jsonl"), tmp_path / "evaluation", train=str(corpus / "train.jsonl"))


def test_rows_of_the_training_set_are_left_out_and_said(fitted, corpus, tmp_path, caplog):
    known = (corpus / "train.jsonl").read_text().splitlines()[:2]
    (tmp_path / "in.jsonl").write_text("\n".join(known) + "\n" + (corpus / "test.jsonl").read_text())
    with caplog.at_level("WARNING", "unskew"):
        found = evaluate(
            fitted[0], str(tmp_path / "in.jsonl"), tmp_path / "evaluation", train=str(corpus / "train.jsonl")
        )
    assert (found.rows, found.repeated) == (30, 2)
    assert "2 of 32 rows are left out" in caplog.text
    assert len((tmp_path / "evaluation" / "predictions.jsonl").read_text().splitlines()) == 30
