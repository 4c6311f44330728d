"""One phase of training: settings, optimiser, learning-rate schedule, and the contents of its checkpoints.

Knows Lightning; knows no loss and no batches, which subclasses give.
"""

from collections.abc import Mapping
from typing import Any

import lightning
import torch
from torch import nn
from transformers import get_linear_schedule_with_warmup

from .settings import PhaseSettings
from .sharding import shard

CHECKPOINT_COPIES = (
    2 * 3
)  # copies of the trained weights: the best and the last checkpoint, each with AdamW's two moments


def checkpoint_bytes(model: nn.Module) -> int:
    """Bytes that a run's checkpoints take."""
    return CHECKPOINT_COPIES * sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


class PhaseModule(lightning.LightningModule):
    """A model in one phase of training. Subclasses give `training_step` and `validation_step`.

    Checkpoints have only the trained parameters and buffers; a frozen base of billions of weights is on disk already.

    Args:
        model: Transformers (or PEFT) model; parameters that do not require gradients are not changed.
        phase: Length and speed of the phase.
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
        """The share of the phase's optimiser steps that are done, in [0, 1], including steps before a resume."""
        return min(1.0, self.trainer.global_step / self.total_steps)

    @property
    def total_steps(self) -> int:
        """The phase's optimiser steps, at least one: those of its epochs or of its budget, whichever is less."""
        within = max(1, int(self.trainer.estimated_stepping_batches))
        return within if self._budget is None else min(within, self._budget)

    @property
    def _budget(self) -> int | None:
        return getattr(getattr(self.trainer, "datamodule", None), "most_steps", None)

    def configure_model(self) -> None:
        """Shard the weights if the strategy does."""
        shard(self.model, self.device_mesh)

    def on_fit_start(self) -> None:
        """Switch dropout on: Lightning leaves a transformers submodule in evaluation mode."""
        self.model.train()

    def configure_optimizers(self) -> Any:
        """AdamW, with weight decay on matrices only, and linear warm-up and decay over the steps of the phase."""
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                decay = self.phase.weight_decay if parameter.ndim > 1 else 0.0
                groups.setdefault((self._rates.get(name, 1.0), decay), []).append(parameter)
        optimizer = torch.optim.AdamW(
            [
                {"params": parameters, "lr": self.phase.rate * rate, "weight_decay": decay}
                for (rate, decay), parameters in groups.items()
            ]
        )
        steps = self.total_steps
        schedule = get_linear_schedule_with_warmup(optimizer, int(steps * self.phase.warmup_share), steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_end(self) -> None:
        """Stop if the budget is spent."""
        if self._budget is not None and self.trainer.global_step >= self._budget:
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave frozen parameters out of the checkpoint."""
        everything = self.named_parameters(remove_duplicate=False)  # tied weights have two names
        frozen = {name for name, parameter in everything if not parameter.requires_grad}
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: value for name, value in state.items() if name not in frozen}
