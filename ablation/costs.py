"""What a training run cost and what it saw: seconds, peak memory, rows, tokens, their order, the first weights.

Knows Lightning's hooks; knows nothing of arms. Peak memory is the most that torch held on a GPU; without one the
largest resident set of the process during the run (Linux: VmHWM, set back at its start; elsewhere the process's
maximum so far), interpreter and libraries included.
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
    """Of one training run, or of several.

    Attributes:
        seconds: Seconds of training, its validations included; over all pieces of an interrupted run.
        memory: Peak, in MiB.
        rows: Rows trained on, repeats included.
        tokens: Their tokens, padding left out.
        order: Hex digits over all batches in their order; equal for equal rows in an equal order.
        start: Hex digits over the first weights, adapters left out.
    """

    seconds: float = 0.0
    memory: float = 0.0
    rows: int = 0
    tokens: int = 0
    order: str = ""
    start: str = ""


class CostMeter(Callback):
    """Writes the cost of a run into its folder; give it to a trainer. An interrupted run's pieces add up."""

    def __init__(self) -> None:
        self.cost = Cost()
        self._began = 0.0

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Start again: one meter serves the phases of a fit one after the other."""
        self.cost = Cost()

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Note the first weights; a run that goes on has them from its checkpoint."""
        self.cost.start = self.cost.start or weights_digest(pl_module)
        reset_peak_memory()
        self._began = time.monotonic()

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Count what is seen."""
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
        """Go on from a checkpoint."""
        self.cost = Cost(**state_dict)


def read_costs(folders: Sequence[Path]) -> dict[str, Cost]:
    """The cost of each run by the name of its phase ("base", "clean", ...); runs without a file are left out."""
    files = {folder.name.rpartition("-")[0]: folder / FILE for folder in folders}
    return {name: Cost(**json.loads(file.read_text("utf-8"))) for name, file in files.items() if file.exists()}


def weights_digest(module: nn.Module) -> str:
    """32 hex digits over a model's weights, whatever they are called there; adapters and their rows are left out."""
    tensors = {
        hashlib.blake2b(parameter.detach().float().cpu().numpy().tobytes(), digest_size=16).hexdigest()
        for name, parameter in module.named_parameters()
        if "lora_" not in name and "trainable_tokens_delta" not in name
    }
    return hashlib.blake2b("".join(sorted(tensors)).encode(), digest_size=16).hexdigest()


def reset_peak_memory() -> None:
    """Begin a new peak, where the system can."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory() -> float:
    """The peak in MiB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / _MIB
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / _MIB if sys.platform == "darwin" else most / 1024
