"""A small run that a test kills: `python cut_run.py FOLDER STEP` sends itself SIGKILL within that step."""

import os
import signal
import sys
from pathlib import Path

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from unskew.balance import TemperedSampler
from unskew.runtime import TokenBudgetBatches
from unskew.training import PhaseModule, PhaseSettings, RunOptions, run

EPOCHS = 3


class Net(PhaseModule):
    """With dropout, so that the random state matters, and buffers that change in training."""

    def __init__(self, kill_at=None):
        torch.manual_seed(0)
        layers = [nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1)]
        super().__init__(nn.Sequential(*layers), PhaseSettings(epochs=EPOCHS, learning_rate=0.05))
        self.kill_at, self.batches = kill_at, 0

    def training_step(self, batch, batch_index):
        self.batches += 1
        if self.kill_at is not None and self.trainer.global_step == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        x, y = batch
        return nn.functional.mse_loss(self.model(x)[:, 0], y)

    def validation_step(self, batch, batch_index):
        x, y = batch
        self.log("validation/loss", nn.functional.mse_loss(self.model(x)[:, 0], y))


class Data(lightning.LightningDataModule):
    """64 rows in batches of 8, by a draw where there is one."""

    def __init__(self, sampler=None):
        super().__init__()
        self.sampler = sampler
        x = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
        self.rows = TensorDataset(x, x.sum(1))

    def train_dataloader(self):
        batches = TokenBudgetBatches([1] * 64, 8, shuffle=True, sampler=self.sampler)
        batches.set_epoch(self.trainer.current_epoch)
        return DataLoader(self.rows, batch_sampler=batches)

    def val_dataloader(self):
        return DataLoader(self.rows, batch_size=64)


def tempered():
    """Data with a draw of 96 of its rows, in 12 batches, which make 6 steps."""
    return Data(TemperedSampler([0] * 60 + [1] * 4, 2.0, total=96))


def options(folder, minutes=0.0):
    trainer = {"accelerator": "cpu", "devices": 1, "accumulate_grad_batches": 2}
    return RunOptions(Path(folder), "test", EPOCHS, 0, "validation/loss", "min", 10, trainer, minutes)


if __name__ == "__main__":
    run(Net(int(sys.argv[2])), tempered(), options(sys.argv[1]))
