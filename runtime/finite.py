"""Checks that a model's weights are finite. Knows weights; knows nothing of what they are for."""

import torch
from torch import nn

from ..common import UserError


def check_finite(model: nn.Module, what: str, remedy: str) -> None:
    """Refuse a model with a weight that is NaN or infinite.

    Args:
        model: Any model.
        what: Name of the model for the message.
        remedy: Advice for the message.

    Raises:
        UserError: If there is such a weight.
    """
    for name, values in model.state_dict().items():
        # A sum is quick, and never finite if a value is not. A sum of finite values may overflow, so check those again.
        suspect = values.is_floating_point() and not values.sum(dtype=torch.float32).isfinite()
        if suspect and not values.isfinite().all():
            raise UserError(f"{what}: the weight {name} is not finite (NaN or infinite); {remedy}")
