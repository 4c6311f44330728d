"""Two processes on a CPU fit one encoder: exact measures, the same weights on both, whatever the shares."""

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from unskew.encoder.module import validation_measures
from unskew.training import PhaseSettings

SCRIPT = """
import os, pickle, sys, torch
from unskew.encoder import fit_encoder
with open(sys.argv[1], "rb") as file:
    job = pickle.load(file)
logits = fit_encoder(*job).logits([record.text for record in job[1]])
torch.save(logits, f"{sys.argv[2]}/{os.environ.get('LOCAL_RANK', '0')}.pt")
"""


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_fit_one_encoder(strategy, train, validation, topics, settings, tmp_path):
    two = {"accelerator": "cpu", "devices": 2, "strategy": strategy}
    phase = PhaseSettings(epochs=6, learning_rate=0.02)
    # Three batches of validation rows for two processes: one is seen twice, and must count once.
    settings = replace(settings, noisy=replace(phase, epochs=0), clean=phase, tokens_per_batch=160, trainer=two)
    job = tmp_path / "job.pickle"
    job.write_bytes(pickle.dumps((train, validation, None, topics, settings, tmp_path / "work")))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(job), str(tmp_path)]
    ended = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    logits = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    assert torch.equal(*logits)
    labels = topics.encode([record.topic for record in validation])
    measures = validation_measures(logits[0], torch.tensor(labels), topics)
    assert measures["accuracy"] > 0.8
    (done,) = (tmp_path / "work").glob("clean-*/done.json")
    logged = json.loads(done.read_text())["measures"]
    for name, value in measures.items():
        assert logged[f"validation/{name}"] == pytest.approx(value, abs=1e-5), name
