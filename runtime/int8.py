"""Linear layers in 8-bit integers, for inference on an x86 CPU. Knows only linear layers.

Weights are rounded once, with a scale for each output. Inputs are rounded at each call, with a scale for each row
(token), so that a row's result does not depend on the rest of the batch. Both are symmetric, after Zafrir et al. 2019,
"Q8BERT" (arXiv:1910.06188). The product is oneDNN's, through the operator that torch's own compiler emits for quantised
models.

Inputs are unsigned bytes around a midpoint: x86 multiplies unsigned by signed bytes, and without AMX oneDNN's routine
for signed by signed is thousands of times slower. Without VNNI, pairs of products are added in 16 bits, which the full
range would overflow, so inputs have 7 bits.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

LARGEST = 127
_SMALLEST = 1e-20  # scale, so that rows of zeros stay zeros


def int8_available() -> bool:
    """Whether this build of torch has oneDNN's int8 product."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, "qlinear_pointwise")


@cache
def int8_input_max() -> int:
    """The integer for a row's largest input: 127, or 63 if this CPU has no VNNI."""
    return 127 if torch.cpu.get_capabilities().get("avx512_vnni") else 63


class Int8Linear(nn.Module):
    """A replacement for a linear layer.

    Args:
        linear: Layer to copy, with weight (out, in).
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._scale = _scale(weight, LARGEST)[:, 0]
        self._zeros = torch.zeros(self.out_features, dtype=torch.int64)
        rounded = (weight / self._scale[:, None]).round().to(torch.int8)
        self._weight = _packed(rounded)
        self.bias = linear.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (..., out) of inputs (..., in), in the type of `inputs`."""
        rows = inputs.reshape(-1, self.in_features)
        largest = int8_input_max()
        scale = _scale(rows, largest)
        middle = largest + 1
        # Modulo 256; torch converts to signed bytes ten times as fast as to unsigned ones.
        rounded = (rows / scale).round_().to(torch.int8).view(torch.uint8).add_(middle)
        multiply: Any = torch.ops.onednn.qlinear_pointwise
        # Input scale 1: the operator takes one scale for all rows, so each row's scale is applied after it.
        product = multiply(
            rounded, 1.0, middle, self._weight, self._scale, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        outputs = product.mul_(scale)
        if self.bias is not None:
            outputs += self.bias
        return outputs.to(inputs.dtype).reshape(*inputs.shape[:-1], self.out_features)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_weight": self._weight.to_dense().T}  # the packed weight has no storage to copy

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "_weight": _packed(state["_weight"])})


def quantize_linears(model: nn.Module) -> None:
    """Replace every linear layer by an `Int8Linear`, in place; tied modules keep their own weights."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear:
                setattr(parent, name, Int8Linear(child))


def _packed(rounded: Tensor) -> Tensor:
    """The weight (out, in), int8, as oneDNN keeps it."""
    return torch.ops.onednn.qlinear_prepack(rounded.contiguous(), None)


def _scale(rows: Tensor, largest: int) -> Tensor:
    # abs().amax() or a norm would take several times as long here.
    magnitude = torch.maximum(rows.amax(dim=1, keepdim=True), -rows.amin(dim=1, keepdim=True))
    return (magnitude.float() / largest).clamp_(min=_SMALLEST)
