"""Two processes on a CPU fit one decoder, each with all of its weights or with half of them: the same in the end."""

import os
import pickle
import subprocess
import sys

import torch

from unskew.balance import LossSettings
from unskew.training import PhaseSettings

SCRIPT = """
import os, pickle, sys
from dataclasses import replace
from lightning.pytorch.callbacks import Callback
import torch
from torch.distributed.tensor import DTensor
from unskew.decoder import fit_decoder

class Shared(Callback):
    def on_train_start(self, trainer, module):
        assert all(isinstance(weight, DTensor) for weight in module.model.parameters())

class Stop(Callback):
    def on_train_epoch_start(self, trainer, module):
        assert trainer.current_epoch == 0, "stopped"

with open(sys.argv[1], "rb") as file:
    records, topics, settings = pickle.load(file)

def fit(strategy, folder, **options):
    trainer = {"accelerator": "cpu", "devices": 2, "strategy": strategy, **options}
    fitted = replace(settings, trainer=trainer)
    return fit_decoder(records, records[:6], records[12:], topics, fitted, f"{sys.argv[2]}/{folder}")

found = {"ddp": fit("ddp", "ddp"), "fsdp": fit("fsdp", "fsdp", callbacks=[Shared()])}
try:
    fit("fsdp", "resumed", callbacks=[Stop()])
except AssertionError as error:
    assert str(error) == "stopped"
else:
    sys.exit("it was not stopped")
found["resumed"] = fit("fsdp", "resumed")
logits = {name: decoder.topic_logits([record.text for record in records]) for name, decoder in found.items()}
torch.save(logits, f"{sys.argv[2]}/{os.environ.get('LOCAL_RANK', '0')}.pt")
"""


def test_shared_weights_end_as_whole_ones_do_interrupted_or_not(records, topics, shared_base, make_settings, tmp_path):
    phase = PhaseSettings(epochs=3, learning_rate=2e-3)
    settings = make_settings(
        base=str(shared_base), noisy=phase, clean=phase, topic_loss=LossSettings("balanced_softmax")
    )
    job = tmp_path / "job.pickle"
    job.write_bytes(pickle.dumps((records, topics, settings)))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(job), str(tmp_path)]
    ended = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240
    )
    assert ended.returncode == 0, ended.stderr[-6000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name in ("ddp", "fsdp", "resumed"):
        assert torch.equal(first[name], second[name]), name
    torch.testing.assert_close(first["fsdp"], first["ddp"], atol=1e-4, rtol=1e-4)
    assert torch.equal(first["resumed"], first["fsdp"])
    assert not torch.equal(first["fsdp"][0], first["fsdp"][1])
