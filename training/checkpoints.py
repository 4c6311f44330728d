"""Checkpoints, written whole or not at all, also inside an epoch. Knows Lightning; knows nothing of what is trained."""

import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback

from ..common import replacing_file


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all: after a kill or on a full disk, the previous one is still there."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Replace the previous checkpoint."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(path, mode="wb") as file:
            torch.save(checkpoint, file)


class EpochParts(Callback):
    """Saves every few minutes inside an epoch, and resumes an interrupted run at the next batch.

    Lightning's own `ModelCheckpoint`, when set by time, also saves between the batches of one step, which loses their
    gradients, and after an epoch's last batch, which skips the validation.

    Args:
        path: Checkpoint file; each checkpoint replaces the previous one.
        minutes: Least minutes between checkpoints; 0 saves after every step.
    """

    def __init__(self, path: Path, minutes: float) -> None:
        self._path, self._seconds = path, 60 * minutes
        self._saved = time.monotonic()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Skip the batches of the interrupted epoch that are done."""
        if trainer.fit_loop.restarting:
            loader: Any = trainer.train_dataloader
            loader.batch_sampler.start = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        self._saved = time.monotonic()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time."""
        loop = trainer.fit_loop.epoch_loop
        if loop.batch_progress.is_last_batch or loop._should_accumulate():
            return
        if trainer.strategy.broadcast(time.monotonic() - self._saved >= self._seconds):
            trainer.save_checkpoint(self._path)
            self._saved = time.monotonic()
