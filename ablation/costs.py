"""Measures a training run: seconds, peak memory, rows, tokens, their order, the initial weights.

Knows Lightning's hooks, but nothing of arms. Peak memory is the most that torch allocated on a GPU. Without a GPU it is
the largest resident set of the process during the run (on Linux VmHWM, reset at its start; elsewhere the process's
maximum so far), including interpreter and libraries.
"""

import hashlib
import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from ..common import write_text

FILE = "cost.json"
_MIB = 2**20


@dataclass
class Cost:
    """The cost of one or more training runs.

    Attributes:
        seconds: Seconds of training with validation, over all parts of an interrupted run.
        memory: Peak memory in MiB.
        rows: Number of rows trained on, repeats included.
        tokens: Number of their tokens, without padding.
        order: Hex digits over all batches in their order; equal for equal rows in the same order.
        start: Hex digits over the initial weights, without adapters.
    """

    seconds: float = 0.0
    memory: float = 0.0
    rows: int = 0
    tokens: int = 0
    order: str = ""
    start: str = ""


class CostMeter(Callback):
    """A trainer callback that writes the cost of a run into its folder. The parts of an interrupted run add up."""

    def __init__(self) -> None:
        self.cost = Cost()
        self._began = 0.0

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Start again; one meter is used for all phases of a fit."""
        self.cost = Cost()

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Record the initial weights; a resumed run has them in its checkpoint."""
        self.cost.start = self.cost.start or weights_digest(pl_module)
        reset_peak_memory()
        self._began = time.monotonic()

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Count rows and tokens."""
        mask, ids = batch["attention_mask"], batch["input_ids"]
        self.cost.rows += len(ids)
        self.cost.tokens += int(mask.sum())
        seen = self.cost.order.encode() + (ids * mask).cpu().numpy().tobytes()
        self.cost.order = hashlib.blake2b(seen, digest_size=16).hexdigest()

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write the file."""
        if trainer.is_global_zero:
            write_text(Path(trainer.default_root_dir) / FILE, json.dumps(self.state_dict()) + "\n")

    def state_dict(self) -> dict[str, Any]:
        """The cost so far, for a checkpoint."""
        seconds = self.cost.seconds + time.monotonic() - self._began
        return {**asdict(self.cost), "seconds": seconds, "memory": max(self.cost.memory, peak_memory())}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a checkpoint."""
        self.cost = Cost(**state_dict)


def read_costs(folders: Sequence[Path]) -> dict[str, Cost]:
    """The cost of each run by its phase ("base", "clean", ...); runs without a file are left out."""
    files = {folder.name.rpartition("-")[0]: folder / FILE for folder in folders}
    return {name: Cost(**json.loads(file.read_text("utf-8"))) for name, file in files.items() if file.exists()}


def weights_digest(module: nn.Module) -> str:
    """32 hex digits over a model's weights, independent of their names; adapters and their rows are left out."""
    tensors = {
        hashlib.blake2b(parameter.detach().float().cpu().numpy().tobytes(), digest_size=16).hexdigest()
        for name, parameter in module.named_parameters()
        if "lora_" not in name and "trainable_tokens_delta" not in name
    }
    return hashlib.blake2b("".join(sorted(tensors)).encode(), digest_size=16).hexdigest()


def reset_peak_memory() -> None:
    """Reset the peak memory, if the system can."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory() -> float:
    """The peak memory in MiB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / _MIB
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / _MIB if sys.platform == "darwin" else most / 1024
