"""The documented schemas are those of the code, and what the product writes is what they say."""

import importlib.util
import json
from pathlib import Path

import pytest

from unskew.ablation.stored import StoredResults
from unskew.common import UserError, read_artefact
from unskew.evaluation import audit, evaluate
from unskew.evaluation.results import StoredAudit, StoredEvaluation
from unskew.jobs.manifest import JobManifest, ShardRecord
from unskew.pipeline.manifest import Manifest, Metrics

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "tests" / "fixtures" / "format-1"


def test_the_page_is_made_from_the_definitions():
    spec = importlib.util.spec_from_file_location("make_schemas", ROOT / "docs" / "make_schemas.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert made.PAGE.read_text("utf-8") == made.render(), "run python docs/make_schemas.py"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (FIXTURES / "bundle" / "unskew.json", Manifest),
        (FIXTURES / "bundle" / "metrics.json", Metrics),
        (FIXTURES / "half.jsonl.job" / "job.json", JobManifest),
        (FIXTURES / "half.jsonl.job" / "done" / "part-00000.json", ShardRecord),
        (ROOT / "tests" / "fixtures" / "ablation_results.json", StoredResults),
    ],
)
def test_what_was_written_is_what_the_definition_says(path, kind):
    text = path.read_text("utf-8")
    for old, new in {"decider": "corrector", "implied_prior": "model_prior", "measures": "metrics"}.items():
        text = text.replace(f'"{old}":', f'"{new}":')
    assert read_artefact(path, kind).plain() == json.loads(text)


def test_a_new_bundle_an_evaluation_and_an_audit_fit_their_definitions(fitted, corpus, tmp_path):
    manifest = read_artefact(fitted[1] / "unskew.json", Manifest, 1)
    assert manifest.sha256.keys() <= manifest.files.keys()
    assert not manifest.model_extra
    evaluate(fitted[0], str(corpus / "test.jsonl"), tmp_path / "evaluation")
    stored = read_artefact(tmp_path / "evaluation" / "evaluation.json", StoredEvaluation)
    assert not stored.model_extra
    predictions = str(tmp_path / "evaluation" / "predictions.jsonl")
    audit(predictions, str(corpus / "test.jsonl"), str(corpus / "train.jsonl"), tmp_path / "audit")
    assert not read_artefact(tmp_path / "audit" / "audit.json", StoredAudit).model_extra


def test_a_newer_format_asks_for_an_upgrade_whatever_else_it_holds(tmp_path):
    (tmp_path / "job.json").write_text('{"format": 2, "plan": "quite another"}')
    with pytest.raises(UserError, match=r"format 2, this version of unskew reads up to 1; upgrade"):
        read_artefact(tmp_path / "job.json", JobManifest, 1)


@pytest.mark.parametrize("text", ["{}", "[]", "3", "null", '{"format": 1}', '{"format": 1, "plan": []}', ""])
def test_a_job_without_a_plan_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(UserError, match=r"job\.json is broken: .*restore it"):
        read_artefact(tmp_path / "job.json", JobManifest, 1)
