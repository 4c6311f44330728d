"""Whether a model's weights are numbers. Knows weights; knows nothing of what they are for."""

import torch
from torch import nn

from ..common import UserError


def check_finite(model: nn.Module, what: str, remedy: str) -> None:
    """Refuse a model with a weight that is NaN or infinite.

    Args:
        model: Any.
        what: Named in the message, before the weight.
        remedy: What to do.

    Raises:
        UserError: If there is such a weight.
    """
    for name, values in model.state_dict().items():
        # A sum is quick, and never finite where a value is not; a sum of sound values may overflow, so look again.
        suspect = values.is_floating_point() and not values.sum(dtype=torch.float32).isfinite()
        if suspect and not values.isfinite().all():
            raise UserError(f"{what}: the weight {name} is not finite (NaN or infinite); {remedy}")
