"""One `decision` setting, from fit through the bundle to predict, jobs and evaluate."""

import dataclasses
import json

import pytest
import torch

from unskew.balance import DecisionSettings, HeldOutRows
from unskew.cli.main import main
from unskew.common import UserError, read_artefact, write_jsonl
from unskew.evaluation import evaluate
from unskew.jobs import JobSettings, predict
from unskew.pipeline import DataSettings, HybridPipeline
from unskew.pipeline.manifest import Manifest


@pytest.fixture(scope="module")
def classifier(fitted):
    """The fitted system without its decoder, and with held-out rows that are not all sure."""
    corrector = fitted[0].corrector
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(3).repeat(150)
    logits = 1.2 * torch.nn.functional.one_hot(targets, 3) + torch.randn(450, 3, generator=generator)
    rows = HeldOutRows.kept_of(logits, targets, torch.rand(450, generator=generator))
    return HybridPipeline(fitted[0].encoder, None, dataclasses.replace(corrector, rows=rows), fitted[0].description)


def test_a_bundle_keeps_the_held_out_rows_and_the_decision(classifier, tmp_path):
    made = classifier.with_decision(DecisionSettings(tune="macro_f1", undecided=0.2, min_confidence={"football": 0.5}))
    made.save_pretrained(tmp_path / "bundle")
    manifest = read_artefact(tmp_path / "bundle" / "unskew.json", Manifest, 1)
    assert {"held_out.safetensors"} <= manifest.files.keys() & manifest.sha256.keys()
    assert not manifest.corrector.decision.model_extra
    again = HybridPipeline.from_pretrained(tmp_path / "bundle", device="cpu")
    assert again.corrector.decision == made.corrector.decision
    for name in ("logits", "labels", "weights"):
        assert torch.equal(getattr(again.corrector.rows, name), getattr(made.corrector.rows, name))
    assert again.with_target_prior("train").corrector.decision == made.with_target_prior("train").corrector.decision
    assert again.with_target_prior("train").corrector.decision.threshold != again.corrector.decision.threshold


def test_a_bundle_keeps_the_costs_given_and_one_with_a_matrix_loads(classifier, tmp_path):
    made = classifier.with_decision(DecisionSettings(costs={"football": {"harvest": 7.0}}))
    made.save_pretrained(tmp_path / "bundle")
    path = tmp_path / "bundle" / "unskew.json"
    stored = json.loads(path.read_text())
    decision = stored["corrector"]["decision"]
    assert "costs" not in decision
    for matrix in ({}, {"costs": [[0.0, 7.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]}):
        stored["corrector"]["decision"] = {**decision, **matrix}
        path.write_text(json.dumps(stored))
        assert HybridPipeline.from_pretrained(path.parent, device="cpu").corrector.decision == made.corrector.decision
    decision["settings"]["costs"] = {"weather": {"harvest": 7.0}}
    path.write_text(json.dumps(stored))
    with pytest.raises(UserError, match="names 'weather', which is not a topic"):
        HybridPipeline.from_pretrained(path.parent, device="cpu")


def test_a_fit_stores_what_was_asked_for(fitted):
    stored = read_artefact(fitted[1] / "unskew.json", Manifest, 1)
    assert stored.corrector.decision is None  # the most probable topic, always
    assert "held_out.safetensors" in stored.files
    assert fitted[0].corrector.rows.logits.shape[1] == 3


def test_a_dict_of_settings_is_refused_at_once(classifier, tmp_path):
    given = {"accuracy": 0.95}
    with pytest.raises(
        UserError, match=r"give DecisionSettings\(\.\.\.\): from unskew.balance import DecisionSettings"
    ):
        classifier.with_decision(given)
    for name, room in (("columns", "corpus import Columns"), ("generation", "decoder"), ("decision", "balance")):
        with pytest.raises(UserError, match=f"{name} is .*from unskew.{room}"):
            predict(tmp_path, "test.csv", tmp_path / "out.csv", **{name: given})
    with pytest.raises(UserError, match="columns is .*from unskew.corpus import Columns"):
        evaluate(classifier, "test.csv", tmp_path / "evaluation", columns={"text": "message"})
    with pytest.raises(UserError, match="columns is .*from unskew.corpus import Columns"):
        DataSettings("train.csv", columns={"text": "message"})


def test_costs_and_least_confidence_decide(classifier, texts):
    plain = list(classifier(texts))
    safe = classifier.with_decision(DecisionSettings(costs={"football": {"harvest": 1e30, "harbour": 1e30}}))
    for before, after in zip(plain, safe(texts, top_k=3), strict=True):
        assert after.topic == "football"
        assert after.confidence == after.topics["football"] == pytest.approx(before.topics["football"])
    bar = sorted(result.confidence for result in plain)[len(plain) // 2]
    strict = list(classifier.with_decision(DecisionSettings(min_confidence={"harvest": bar}))(texts))
    for before, after in zip(plain, strict, strict=True):
        refused = before.topic == "harvest" and before.confidence < bar
        assert after.topic == (None if refused else before.topic)
        assert after.topics == before.topics


def test_a_set_holds_the_topic_that_is_decided_for(classifier, texts):
    safe = classifier.with_decision(DecisionSettings(costs={"football": {"harvest": 1e30, "harbour": 1e30}}))
    assert all("football" in result.topic_set for result in safe(texts, sets=0.5))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"accuracy": 0.9999}, "no confidence threshold reaches an accuracy of 100.0%"),
        ({"costs": {"weather": {"harvest": 2}}}, "unknown topic 'weather'"),
        ({"min_confidence": {"football": 0.5, "tennis": 0.5}}, "unknown topic 'tennis'"),
    ],
)
def test_what_cannot_be_decided_so_is_refused_at_the_call(classifier, texts, settings, said):
    with pytest.raises(UserError, match=said):
        classifier.with_decision(DecisionSettings(**settings))(texts)


def test_without_held_out_rows_only_what_needs_none(classifier, texts):
    bare = HybridPipeline(classifier.encoder, None, dataclasses.replace(classifier.corrector, rows=None))
    with pytest.raises(UserError, match="there are none; fit it again with rows held out"):
        bare.with_decision(DecisionSettings(tune="macro_f1"))(texts)
    assert next(bare.with_decision(DecisionSettings(min_confidence=1.0))(texts)).topic is None


def test_damaged_held_out_rows_are_refused(classifier, tmp_path):
    from safetensors.torch import save_file

    classifier.save_pretrained(tmp_path / "bundle")
    path = tmp_path / "bundle" / "held_out.safetensors"
    manifest = json.loads((tmp_path / "bundle" / "unskew.json").read_text())
    manifest["sha256"].pop("held_out.safetensors")
    manifest["files"].pop("held_out.safetensors")
    (tmp_path / "bundle" / "unskew.json").write_text(json.dumps(manifest))
    rows = torch.full((2, 3), -1.0).half()
    for damaged, said in (
        ({"logits": rows, "targets": torch.tensor([0, 3])}, "must be in 0..2"),
        ({"logits": rows[:, :2], "targets": torch.tensor([0, 1])}, "has 2 topics instead of 3"),
        ({"logits": rows * torch.nan, "targets": torch.tensor([0, 1])}, "log-probabilities"),
        ({"logits": rows}, "has no held-out rows"),
    ):
        save_file({name: tensor.contiguous() for name, tensor in damaged.items()}, path)
        with pytest.raises(UserError, match=said):
            HybridPipeline.from_pretrained(tmp_path / "bundle", device="cpu")


def test_a_job_with_a_decision_of_its_own(classifier, texts, tmp_path):
    classifier.save_pretrained(tmp_path / "bundle")
    write_jsonl(tmp_path / "in.jsonl", [{"text": text} for text in texts])
    asked = DecisionSettings(undecided=0.3)
    given = {"source": str(tmp_path / "in.jsonl"), "output": str(tmp_path / "out.jsonl"), "device": "cpu"}
    predict(tmp_path / "bundle", **given, decision=asked, target_prior="train", progress="none")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    expected = list(classifier.with_target_prior("train").with_decision(asked)(texts))
    assert [row["topic"] for row in rows] == [result.topic for result in expected]
    with pytest.raises(UserError, match="decision was .*is None"):
        predict(tmp_path / "bundle", **given, target_prior="train", progress="none")


def test_the_plan_of_a_job_without_a_decision_is_what_it_was():
    plain = JobSettings("in", "out.jsonl").in_results(256)
    assert "decision" not in plain
    assert JobSettings("in", "out.jsonl", decision=DecisionSettings()).in_results(256).keys() - plain == {"decision"}


def test_evaluate_leaves_undecided_rows_out_and_counts_them(classifier, corpus, texts, tmp_path):
    bar = sorted(result.confidence for result in classifier(texts))[len(texts) // 2]
    found = evaluate(
        classifier.with_decision(DecisionSettings(min_confidence=bar)),
        str(corpus / "test.jsonl"),
        tmp_path / "evaluation",
    )
    rows = [json.loads(line) for line in (tmp_path / "evaluation" / "predictions.jsonl").read_text().splitlines()]
    decided = [row for row in rows if row["topic"] is not None]
    assert 0 < len(decided) < len(rows)
    assert found.topics["undecided"] == pytest.approx(1 - len(decided) / len(rows))
    assert found.topics["accuracy"] == pytest.approx(
        sum(row["topic"] == row["true_topic"] for row in decided) / len(decided)
    )
    assert sum(found.undecided.values()) / 3 == pytest.approx(found.topics["undecided"])  # pyright: ignore[reportCallIssue]


def test_decision_is_an_option_of_the_commands(classifier, corpus, tmp_path):
    classifier.save_pretrained(tmp_path / "bundle")
    common = ["--model", str(tmp_path / "bundle"), "--input", str(corpus / "test.jsonl"), "--device", "cpu"]
    for command, name, prior in (("evaluate", "folder", "uniform"), ("predict", "out.jsonl", "uniform")):
        given = ["--output", str(tmp_path / name), "--decision.undecided", "0.4", "--target_prior", prior]
        with pytest.raises(SystemExit) as ended:
            main([command, *common, *given])
        assert ended.value.code == 0
    topics = [json.loads(line)["topic"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    stored = json.loads((tmp_path / "folder" / "evaluation.json").read_text())
    assert stored["topics"]["undecided"] == pytest.approx(topics.count(None) / len(topics))
