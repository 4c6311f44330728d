"""The last linear layer of a classifier and its inputs. Knows the layout of transformers' models; trains nothing."""

import copy
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ..common import UserError
from .layers import head_names


def last_layer(model: PreTrainedModel) -> tuple[str, nn.Linear]:
    """Name and module of the layer that makes the logits: the last linear layer outside the body.

    Raises:
        UserError: If the model has none.
    """
    head = {name.rpartition(".")[0] for name in head_names(model)}
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name in head and module.out_features == model.config.num_labels
    ]
    if not found:
        raise UserError(f"a {type(model).__name__} has no last linear layer; choose another encoder base")
    return found[-1]


def output_layer(model: PreTrainedModel) -> tuple[str, nn.Linear]:
    """Name and module of the last layer, checked to have room for a fitted head.

    Raises:
        UserError: If the model has no last linear layer, or one without a bias, as in decoders.
    """
    name, layer = last_layer(model)
    if layer.bias is None:
        raise UserError(
            f"a {type(model).__name__} has no last linear layer with a bias to fit; choose another encoder base, or "
            "give --encoder.recipe phases"
        )
    return name, layer


def without_output_layer(model: PreTrainedModel) -> PreTrainedModel:
    """A copy with shared weights whose logits are the inputs of the last layer: the features that a head reads.

    `model` is not changed, so another thread may use it meanwhile.
    """
    name, _ = output_layer(model)
    *parents, last = name.split(".")
    twin = module = _shallow(model)
    for parent in parents:
        inner = _shallow(module.get_submodule(parent))
        module._modules[parent] = inner
        module = inner
    module._modules[last] = nn.Identity()
    return twin


def _shallow(module: Any) -> Any:
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin


@torch.no_grad()
def set_output_layer(model: PreTrainedModel, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Put a head, weight (C, d) and bias (C,), into the model, in place."""
    _, layer = output_layer(model)
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
