"""Two processes on a CPU fit one encoder: exact metrics, the same weights on both, whatever the shares."""

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from unskew.encoder.module import validation_metrics
from unskew.training import PhaseSettings

SCRIPT = """
import os, pickle, signal, sys, torch
from unskew.encoder import fit_encoder
from unskew.encoder.module import EncoderModule
with open(sys.argv[1], "rb") as file:
    job = pickle.load(file)
step = EncoderModule.training_step
def step_or_die(module, batch, index):
    if module.global_step == int(os.environ.get("KILL_AT", -1)):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(module, batch, index)
EncoderModule.training_step = step_or_die
logits = fit_encoder(*job).logits([record.text for record in job[1]])
torch.save(logits, f"{sys.argv[2]}/{os.environ.get('LOCAL_RANK', '0')}.pt")
"""


@pytest.fixture
def run(tmp_path):
    """Fits an encoder in two processes; returns how that ended."""
    (tmp_path / "script.py").write_text(SCRIPT)

    def call(job, output, **environment):
        output.mkdir(exist_ok=True)
        (tmp_path / "job.pickle").write_bytes(pickle.dumps(job))
        return subprocess.run(
            [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "job.pickle"), str(output)],
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return call


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_fit_one_encoder(strategy, train, validation, topics, settings, run, tmp_path):
    two = {"accelerator": "cpu", "devices": 2, "strategy": strategy}
    phase = PhaseSettings(epochs=6, learning_rate=0.02)
    # Three batches of validation rows for two processes: one is seen twice, and must count once.
    settings = replace(settings, noisy=replace(phase, epochs=0), clean=phase, tokens_per_batch=160, trainer=two)
    ended = run((train, validation, None, topics, settings, tmp_path / "work"), tmp_path)
    assert ended.returncode == 0, ended.stderr
    logits = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    assert torch.equal(*logits)
    labels = topics.encode([record.topic for record in validation])
    metrics = validation_metrics(logits[0], torch.tensor(labels), topics)
    assert metrics["accuracy"] > 0.8
    (done,) = (tmp_path / "work").glob("clean-*/done.json")
    logged = json.loads(done.read_text())["metrics"]
    overall = {name: value for name, value in metrics.items() if "/" not in name}  # topics' own go to the loggers
    for name, value in overall.items():
        assert logged[f"validation/{name}"] == pytest.approx(value, abs=1e-5), name


def test_two_processes_that_are_killed_inside_an_epoch_end_with_the_same_weights(
    train, validation, topics, settings, run, tmp_path
):
    two = {"accelerator": "cpu", "devices": 2, "strategy": "ddp"}
    phase = PhaseSettings(epochs=2, learning_rate=0.02, checkpoint_minutes=0)
    # At most 80 of some 900 tokens in a batch: of an epoch's five steps or more the fourth is not the last.
    settings = replace(settings, noisy=replace(phase, epochs=0), clean=phase, tokens_per_batch=80, trainer=two)
    jobs = {name: (train, validation, None, topics, settings, tmp_path / name / "work") for name in ("whole", "cut")}
    ended = run(jobs["whole"], tmp_path / "whole")
    assert ended.returncode == 0, ended.stderr
    assert run(jobs["cut"], tmp_path / "cut", KILL_AT="3").returncode != 0
    (last,) = (tmp_path / "cut").glob("work/clean-*/checkpoints/last.ckpt")
    assert torch.load(last, weights_only=True)["global_step"] == 3
    ended = run(jobs["cut"], tmp_path / "cut")
    assert ended.returncode == 0, ended.stderr
    for rank in (0, 1):
        assert torch.equal(torch.load(tmp_path / "cut" / f"{rank}.pt"), torch.load(tmp_path / "whole" / f"{rank}.pt"))
