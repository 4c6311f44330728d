"""Checkpoints: written whole or not at all, and inside an epoch too. Knows Lightning; not what is trained."""

import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback

from ..common import replacing_file


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all: a kill in the middle, or a full disk, leaves the one before."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Put the checkpoint in the place of the one before."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(path, mode="wb") as file:
            torch.save(checkpoint, file)


class EpochParts(Callback):
    """Saves every few minutes inside an epoch, and has a run that was cut there go on with the next batch.

    Not Lightning's own `ModelCheckpoint`: by time that also saves between the batches of one step, whose gradients are
    lost, and after an epoch's last batch, whose validation is then left out.

    Args:
        path: The file; each checkpoint takes the place of the one before.
        minutes: At least so long from one to the next; 0 saves after every step.
    """

    def __init__(self, path: Path, minutes: float) -> None:
        self._path, self._seconds = path, 60 * minutes
        self._saved = time.monotonic()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Pass over the batches that were done in the epoch that was cut."""
        if trainer.fit_loop.restarting:
            loader: Any = trainer.train_dataloader
            loader.batch_sampler.start = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        self._saved = time.monotonic()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where it is time."""
        loop = trainer.fit_loop.epoch_loop
        if loop.batch_progress.is_last_batch or loop._should_accumulate():
            return
        if trainer.strategy.broadcast(time.monotonic() - self._saved >= self._seconds):
            trainer.save_checkpoint(self._path)
            self._saved = time.monotonic()
