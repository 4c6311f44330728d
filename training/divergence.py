"""Ends a run at its first number that is not finite. Knows Lightning's steps; knows nothing of what is trained.

Otherwise a model of NaNs would be saved, since NaN never compares as worse, and early stopping would end the run as if
it were done.
"""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.utils import get_total_norm

from ..common import UserError

MOST = 50.0  # of a validation metric, a share or nats: the truth would have a mean probability under 1e-21


class StopAtDivergence(Callback):
    """Raises a `UserError` at the first loss, gradient norm or validation metric that is NaN, infinite or absurd.

    It checks once a step, before the weights change. If the loss is not finite on one of several processes, the shared
    gradients are not finite on any, and all of them stop.

    Args:
        name: Name of the run, for the message.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._losses: list[Tensor] = []
        self._rate = 0.0  # of the last step; at an epoch's end the schedule has already moved on

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Keep the losses of all batches of the step."""
        self._losses.append(loss.detach())

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Check the step's losses and gradients in one operation on the device."""
        self._rate = optimizer.param_groups[0]["lr"]
        loss = torch.stack(self._losses).sum()
        self._losses.clear()
        norm = loss.new_zeros(()) if _scaled(trainer) else _gradient_norm(optimizer)
        if bool(torch.isfinite(loss + norm)):
            return
        what = ("loss", loss) if not torch.isfinite(loss) else ("norm of the gradients", norm)
        self._stop(trainer, *what, f"at step {trainer.global_step + 1}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the epoch's validation metrics and the weights before a checkpoint keeps them."""
        for name, value in trainer.callback_metrics.items():
            if name.startswith("validation/") and not value <= MOST:
                self._stop(trainer, name.replace("/", " "), value, f"after step {trainer.global_step}")

        for name, weight in pl_module.named_parameters():
            if weight.requires_grad and not (total := _whole(weight.detach().sum())).isfinite():
                self._stop(trainer, f"sum of {name}", total, f"after step {trainer.global_step}")

    def _stop(self, trainer: Trainer, what: str, value: Tensor, when: str) -> None:
        raise UserError(
            f"{self._name}: training diverged: the {what} is {float(value):.6g} {when} (epoch "
            f"{trainer.current_epoch + 1}), with learning rate {self._rate:.3g}; give this phase a smaller "
            "learning_rate (or weight_decay, or alpha), and look for absurd values in the settings"
        )


def _scaled(trainer: Trainer) -> bool:
    """Whether float16 gradients are scaled; a step that overflows is then skipped."""
    return getattr(trainer.precision_plugin, "scaler", None) is not None


def _gradient_norm(optimizer: Any) -> Tensor:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return _whole(get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None]))


def _whole(value: Any) -> Tensor:
    """The whole tensor if its parts are on several processes."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value
