"""All weights of a fitted model. Knows the layers that hold theirs in another form."""

from torch import Tensor, nn

from .int8 import Int8Linear
from .prepacked import PrepackedLinear


def weights_of(model: nn.Module) -> list[Tensor]:
    """Parameters, buffers, and the weights of prepacked and int8 layers, which are neither."""
    held = [module._weight for module in model.modules() if isinstance(module, (PrepackedLinear, Int8Linear))]
    return [*model.parameters(), *model.buffers(), *held]
