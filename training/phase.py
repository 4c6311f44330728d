"""One phase of training: its settings, optimiser, learning-rate schedule, and what of it a checkpoint holds.

Knows Lightning; the loss and the batches are its subclasses'.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from torch import nn
from transformers import get_linear_schedule_with_warmup

from ..corpus.errors import UserError
from .sharding import shard


@dataclass(frozen=True)
class PhaseSettings:
    """How long and how fast a phase trains.

    Attributes:
        epochs: Passes over the rows at most; 0 leaves the phase out.
        learning_rate: Peak of the schedule.
        warmup_share: Share of the steps over which the rate rises linearly from 0; it falls linearly to 0 after.
        weight_decay: Decoupled (AdamW), on matrices only.
        patience: Epochs without improvement of the monitored measure before the phase stops.
    """

    epochs: int = 5
    learning_rate: float = 3e-4
    warmup_share: float = 0.1
    weight_decay: float = 0.01
    patience: int = 3

    def __post_init__(self) -> None:
        problems = []
        if self.epochs < 0:
            problems.append(f"epochs is {self.epochs}, must be 0 (leave out) or more")
        if not self.learning_rate > 0:
            problems.append(f"learning_rate is {self.learning_rate}, must be positive")
        if not 0 <= self.warmup_share <= 1:
            problems.append(f"warmup_share is {self.warmup_share}, must lie between 0 and 1")
        if self.weight_decay < 0:
            problems.append(f"weight_decay is {self.weight_decay}, must not be negative")
        if self.patience < 1:
            problems.append(f"patience is {self.patience}, must be at least 1")
        if problems:
            raise UserError("training phase: " + "; ".join(problems))


class PhaseModule(lightning.LightningModule):
    """A model in one phase of training. Subclasses give `training_step` and `validation_step`.

    Checkpoints hold the trained parameters and buffers alone: a frozen base of billions of weights is on disk already.

    Args:
        model: A transformers (or PEFT) model; parameters that do not require gradients stay as they are.
        phase: Length and speed.
        rates: Learning-rate factor per parameter name (layer-wise decay); absent names have 1.
    """

    def __init__(self, model: nn.Module, phase: PhaseSettings, rates: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.model = model
        self.phase = phase
        self._rates = rates or {}
        self.strict_loading = False

    @property
    def done_share(self) -> float:
        """The share of the phase's optimiser steps that are done, in [0, 1]; goes on where a checkpoint stopped."""
        return min(1.0, self.trainer.global_step / max(1, int(self.trainer.estimated_stepping_batches)))

    def configure_model(self) -> None:
        """Share the weights out where the strategy does."""
        shard(self.model, self.device_mesh)

    def on_fit_start(self) -> None:
        """Switch dropout on: Lightning leaves a transformers submodule in evaluation mode."""
        self.model.train()

    def configure_optimizers(self) -> Any:
        """AdamW, decaying matrices only, with a linear warm-up and decay over the steps of the phase."""
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                decay = self.phase.weight_decay if parameter.ndim > 1 else 0.0
                groups.setdefault((self._rates.get(name, 1.0), decay), []).append(parameter)
        optimizer = torch.optim.AdamW(
            [
                {"params": parameters, "lr": self.phase.learning_rate * rate, "weight_decay": decay}
                for (rate, decay), parameters in groups.items()
            ]
        )
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = get_linear_schedule_with_warmup(optimizer, int(steps * self.phase.warmup_share), steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave frozen parameters out of the checkpoint."""
        everything = self.named_parameters(remove_duplicate=False)  # tied weights stand under two names
        frozen = {name for name, parameter in everything if not parameter.requires_grad}
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: value for name, value in state.items() if name not in frozen}
