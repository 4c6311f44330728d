"""Linear layers with weights prepacked for oneDNN, for inference on a CPU: the same results, sooner.

torch's own layer has its weights arranged in every call, or reads them as they are, which costs most where the rows are
few: in every step of writing. Here oneDNN arranges them once, through the operators that torch's own compiler emits for
frozen models. Knows linear layers alone.
"""

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from .memory import copy_from_mmap

ROWS = 1024  # of the inputs that the arrangement is chosen for; with more or fewer it is nearly as fast
SMALLEST = 1 << 17  # weights; in smaller layers the call itself costs more than is won


def packable(dtype: torch.dtype) -> bool:
    """Whether this processor and this build of torch have a product of packed weights of that type."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


class PrepackedLinear(nn.Module):
    """A linear layer's stand-in that cannot be trained; its state dict is the layer's, so it is saved as one.

    `weight` is no parameter and has no storage: of use for its type and shape.

    Args:
        linear: Copied, with weight (out, in).
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        self._weight = _packed(linear.weight)

    @property
    def weight(self) -> Tensor:
        """Of shape (out, in); some models ask a layer for its type."""
        return self._weight

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., in) to (..., out).

        Raises:
            RuntimeError: If a gradient is asked for: the product would leave it out in silence.
        """
        if inputs.requires_grad and torch.is_grad_enabled():
            raise RuntimeError("this model was loaded for inference; load it with transformers or PEFT to train it")
        multiply: Any = torch.ops.mkldnn._linear_pointwise
        return multiply(inputs, self._weight, self.bias, "none", [], "")

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"] = self._weight.to_dense()

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
        return {**self.__dict__, "_weight": self._weight.to_dense()}  # the arranged one has no storage to copy

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "_weight": _packed(state["_weight"])})


def prepack_linears(model: nn.Module) -> None:
    """Put a `PrepackedLinear` in the place of every linear layer on a CPU that gains by it, in place; tied ones stay.

    If there is one, the whole model is frozen, and lets go of the files that it was read from.
    """
    uses = Counter(id(weight) for module in model.modules() for weight in module.parameters(recurse=False))
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear and uses[id(child.weight)] == 1 and _worth_it(child.weight):
                setattr(parent, name, PrepackedLinear(child))
    if any(isinstance(module, PrepackedLinear) for module in model.modules()):
        model.requires_grad_(False)
        copy_from_mmap(model)


def _packed(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)


def _worth_it(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.numel() >= SMALLEST and packable(weight.dtype)
