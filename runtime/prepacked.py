"""Linear layers with weights prepacked for oneDNN: faster inference on a CPU. Knows nothing but linear layers.

torch's own layer rearranges its weights in every call, or reads them unarranged. That costs most with few rows, as in
every step of generation. Here oneDNN arranges them once, through the operators that torch's own compiler emits for
frozen models. The results are the same.
"""

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from .memory import copy_from_mmap
from .precision import has_bfloat16

ROWS = 1024  # of inputs for which the arrangement is chosen; with more or fewer it is nearly as fast
SMALLEST = 1 << 16  # weights; in smaller layers the call costs more than it saves


def packable(dtype: torch.dtype) -> bool:
    """Whether this processor and this build of torch can multiply with packed weights of that type."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and has_bfloat16())


class PrepackedLinear(nn.Module):
    """A replacement for a linear layer that cannot be trained; it has the same state dict, so it is saved as one.

    `weight` is not a parameter and has no storage; only its type and shape can be used.

    Args:
        linear: Layer to copy, with weight (out, in).
        tied: Whether another module uses the weight too, as an embedding does; it is then saved as one with it.
    """

    def __init__(self, linear: nn.Linear, tied: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        self._tied = [linear.weight] if tied else []  # a list, so that it is no parameter of this module
        self._weight = _packed(linear.weight)

    @property
    def weight(self) -> Tensor:
        """A tensor of shape (out, in), because some models ask a layer for its type."""
        return self._weight

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (..., out) of inputs (..., in).

        Raises:
            RuntimeError: If a gradient is needed, which the product would silently leave out.
        """
        if inputs.requires_grad and torch.is_grad_enabled():
            raise RuntimeError("this model was loaded for inference; load it with transformers or PEFT to train it")
        multiply: Any = torch.ops.mkldnn._linear_pointwise
        return multiply(inputs, self._weight, self.bias, "none", [], "")

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"] = self._tied[0].detach() if self._tied else self._weight.to_dense()

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: Any,
        unexpected_keys: Any,
        error_msgs: Any,
    ) -> None:
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        if (name := prefix + "weight") in state_dict:
            self._weight = _packed(state_dict[name].to(self._weight.dtype))
            unexpected_keys[:] = [key for key in unexpected_keys if key != name]
        else:
            missing_keys.append(name)

    def _apply(self, fn: Any, recurse: bool = True) -> "PrepackedLinear":
        weight = fn(self._weight.to_dense())
        if weight.device.type != "cpu" or not packable(weight.dtype):
            raise RuntimeError("this model was loaded for a CPU; choose device and precision when it is loaded")
        self._weight = _packed(weight)
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_weight": self._weight.to_dense()}  # the packed weight has no storage to copy

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "_weight": _packed(state["_weight"])})


def prepack_linears(model: nn.Module) -> None:
    """Replace every linear layer on a CPU that is faster so by a `PrepackedLinear`, in place.

    An output matrix that is also the embedding is then in memory twice. If any layer is replaced, the whole model is
    frozen, and its memory-mapped weights are copied.
    """
    uses = Counter(id(weight) for module in model.modules() for weight in module.parameters(recurse=False))
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear and _worth_it(child.weight):
                setattr(parent, name, PrepackedLinear(child, tied=uses[id(child.weight)] > 1))
    if any(isinstance(module, PrepackedLinear) for module in model.modules()):
        model.requires_grad_(False)
        copy_from_mmap(model)


def _packed(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)


def _worth_it(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.numel() >= SMALLEST and packable(weight.dtype)
