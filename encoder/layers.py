"""Tells which parameters of a classifier are its body and which its head, and how deep each is.

Knows the layout of transformers' models; knows nothing of training.
"""

import re

from torch import nn
from transformers import PreTrainedModel

from .pooling import mean_layer

_LAYER = re.compile(r"\.(?:layers?|h|blocks?)\.(\d+)\.")
_EMBEDDING = re.compile(r"embed", re.IGNORECASE)


def head_names(model: PreTrainedModel) -> set[str]:
    """Names of the parameters outside the body; a `pooler` inside the body counts as head.

    The body is the attribute named by `base_model_prefix` (`bert`, `model`, ...); without one, everything is head.
    """
    body = f"{model.base_model_prefix}."
    return {
        name for name, _ in model.named_parameters() if not name.startswith(body) or name.startswith(f"{body}pooler.")
    }


def freeze_body(model: PreTrainedModel) -> None:
    """Leave only the head trainable."""
    head = head_names(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in head)


def freeze_all_but_layers(model: PreTrainedModel, output: nn.Module) -> None:
    """Leave the body's layers and the output layer trainable.

    Embeddings stay frozen: those of words that a small set lacks would not move with the rest. Layers between the body
    and the output layer stay frozen too; new ones only pass the features on (`pass_features_on`).
    """
    head = head_names(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in head and _depth(f".{name}") != 0)
    mean = mean_layer(model)
    if mean is not None:
        mean.requires_grad_(False)
    output.requires_grad_(True)


def body_modules(model: PreTrainedModel) -> list[nn.Module]:
    """The children of the body that are not head, whose dropout is off while they are frozen."""
    return [child for name, child in model.base_model.named_children() if name != "pooler"]


def layer_rates(model: PreTrainedModel, decay: float) -> dict[str, float]:
    """Learning-rate factor per parameter name: 1 for the head, `decay` for the top layer, its square below, ...

    Layer-wise decay as in ULMFiT (Howard and Ruder 2018, section 3.2) and ELECTRA; embeddings count as below all
    layers, and a final norm as part of the last layer.
    """
    head = head_names(model)
    depths = {name: _depth(name) for name, _ in model.named_parameters() if name not in head}
    layers = 1 + max((depth for depth in depths.values() if depth is not None), default=0)
    return {
        name: decay ** (layers - (layers - 1 if depth is None else depth)) for name, depth in depths.items()
    } | dict.fromkeys(head, 1.0)


def _depth(name: str) -> int | None:
    """0 for embeddings, i + 1 for layer i, None for anything else."""
    layer = _LAYER.search(name)
    if layer:
        return int(layer.group(1)) + 1
    return 0 if _EMBEDDING.search(name) else None
