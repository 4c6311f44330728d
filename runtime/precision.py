"""The arithmetic that a fitted model runs in. Knows linear layers and devices; knows no stage and no training."""

from typing import get_args

import torch
from torch import nn

from ..common import UserError
from .int8 import Int8Linear, int8_available, quantize_linears
from .memory import copy_from_mmap
from .settings import Precision


def choose_precision(precision: Precision | None, device: torch.device) -> Precision:
    """The given precision; for None, the exact one on a CPU and the fast one on a GPU.

    Raises:
        UserError: If the precision does not exist, or is not available on this device.
    """
    if precision is None:
        return "float32" if device.type == "cpu" else "bfloat16"
    if precision not in get_args(Precision):
        raise UserError(f"precision is {precision!r}; give one of {', '.join(get_args(Precision))}")
    if precision == "int8" and device.type != "cpu":
        raise UserError(f"precision int8 is for a CPU, not for {device.type}; give bfloat16")
    if precision == "int8" and not int8_available():
        raise UserError("precision int8 needs a build of torch with oneDNN (x86); give float32 or bfloat16")
    return precision


def has_bfloat16() -> bool:
    """Whether this processor has instructions for products in bfloat16."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def is_slow_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether float32 is faster there: bfloat16 on a processor without instructions for it takes several times as long.

    Args:
        precision: One of ours, or of `lightning.Trainer`, such as "bf16-mixed".
        device: Where it runs.
    """
    is_bfloat16 = precision.startswith(("bf16", "bfloat16"))
    return is_bfloat16 and device.type == "cpu" and not has_bfloat16()


def to_precision(model: nn.Module, precision: Precision) -> None:
    """Convert a model's weights to a precision, in place. "int8" converts only linear layers and cannot be undone."""
    if precision == "int8":
        quantize_linears(model.float())
        copy_from_mmap(model)
    else:
        model.to(torch.bfloat16 if precision == "bfloat16" else torch.float32)


def is_quantized(model: nn.Module) -> bool:
    """Whether some weights of a model have been rounded to int8, so that it must not be saved."""
    return any(isinstance(module, Int8Linear) for module in model.modules())
