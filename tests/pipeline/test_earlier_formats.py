"""What earlier versions wrote is read, and what they began is finished: see tests/fixtures/make.py."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unskew import HybridPipeline
from unskew.cli.main import main
from unskew.jobs import model as job_model
from unskew.pipeline.held_out_file import load_rows

FIXTURES = Path(__file__).parent.parent / "fixtures"


@pytest.fixture
def earlier(tmp_path, monkeypatch):
    shutil.copytree(FIXTURES / "format-1", tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def rows(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_bundle_answers_as_it_did(earlier):
    pipeline = HybridPipeline.from_pretrained("bundle", device="cpu")
    texts = [row["text"] for row in rows(earlier / "texts.jsonl") if row["text"]]
    for result, before in zip(pipeline(texts), rows(earlier / "whole.jsonl"), strict=True):
        assert result.topic == before["topic"]
        assert result.output == before["output"]
        assert result.topics == pytest.approx(before["topics"], abs=1e-4)


def test_a_job_goes_on_from_its_last_whole_shard(earlier, monkeypatch, capsys):
    plan = json.loads((earlier / "half.jsonl.job" / "job.json").read_text())["plan"]
    monkeypatch.setattr(job_model, "library_versions", lambda: plan["versions"])
    job = ["--model", "bundle", "--input", "texts.jsonl", "--output", "half.jsonl", "--shard_rows", "4"]
    with pytest.raises(SystemExit) as ended:
        main(["predict", *job, "--device", "cpu"])
    assert ended.value.code == 3
    assert "8 rows had been done before" in capsys.readouterr().out
    assert [row["id"] for row in rows(earlier / "half.jsonl")] == [row["id"] for row in rows(earlier / "whole.jsonl")]


def test_held_out_rows_are_read_under_the_name_that_their_labels_had(tmp_path):
    logits, labels = torch.randn(4, 2).log_softmax(-1), torch.tensor([0, 1, 1, 0], dtype=torch.int32)
    save_file({"logits": logits, "targets": labels}, tmp_path / "held_out.safetensors")
    rows = load_rows(tmp_path / "held_out.safetensors", 2)
    assert torch.equal(rows.labels, labels)
    assert torch.equal(rows.weights, torch.ones(4))
