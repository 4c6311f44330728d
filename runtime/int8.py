"""Linear layers in 8-bit integers, for inference on an x86 CPU.

Weights are rounded once, with a scale for each output; inputs as they come, with a scale for each row (token), so that
a row's result does not depend on those beside it, as it would under one scale for the whole batch. Both symmetric,
after Zafrir et al. 2019, "Q8BERT" (arXiv:1910.06188). The product is oneDNN's, through the operator that
torch's own compiler emits for quantised models. Knows linear layers alone.

Inputs go in as unsigned bytes around a middle: x86 multiplies unsigned by signed bytes, and for signed by signed ones
oneDNN has, without AMX, a routine thousands of times slower. Without VNNI pairs of products are added in 16 bits, which
the whole range would overflow: there inputs have 7 bits.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

LARGEST = 127
_SMALLEST = 1e-20  # of a scale: rows of zeros stay zeros


def int8_available() -> bool:
    """Whether this build of torch has oneDNN's int8 product."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, "qlinear_pointwise")


@cache
def largest_input() -> int:
    """What a row's largest input is rounded to: 127, or 63 where this CPU has no VNNI."""
    return 127 if torch.cpu.get_capabilities().get("avx512_vnni") else 63


class Int8Linear(nn.Module):
    """A linear layer's stand-in.

    Args:
        linear: Copied, with weight (out, in).
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._scale = _scale(weight, LARGEST)[:, 0]
        self._zeros = torch.zeros(self.out_features, dtype=torch.int64)
        rounded = (weight / self._scale[:, None]).round().to(torch.int8)
        self._weight: Tensor = torch.ops.onednn.qlinear_prepack(rounded, None)
        self.bias = linear.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., in) to (..., out), in the type of `inputs`."""
        rows = inputs.reshape(-1, self.in_features)
        largest = largest_input()
        scale = _scale(rows, largest)
        middle = largest + 1
        rounded = (rows / scale).round_().add_(middle).to(torch.uint8)
        multiply: Any = torch.ops.onednn.qlinear_pointwise
        # Input scale 1: each row's own comes after the product, which knows only one for all.
        product = multiply(
            rounded, 1.0, middle, self._weight, self._scale, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        outputs = product.mul_(scale)
        if self.bias is not None:
            outputs += self.bias
        return outputs.to(inputs.dtype).reshape(*inputs.shape[:-1], self.out_features)


def quantize_linears(model: nn.Module) -> None:
    """Put an `Int8Linear` in the place of every linear layer, in place; what is tied to one keeps its own weights."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear:
                setattr(parent, name, Int8Linear(child))


def _scale(rows: Tensor, largest: int) -> Tensor:
    # Not abs().amax() or a norm: these take several times as long here.
    magnitude = torch.maximum(rows.amax(dim=1, keepdim=True), -rows.amin(dim=1, keepdim=True))
    return (magnitude.float() / largest).clamp_(min=_SMALLEST)
