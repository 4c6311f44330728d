"""Gives a classifier the pooling that its base declares, by weights and settings alone. Trains nothing.

The features of most sentence encoders are the mean of their tokens, but most of transformers' classifiers read only the
first token. So one more layer of the same kind is added, whose weights make it start as `first token + STRENGTH * mean
of all tokens`. It is trained like any other layer, and plain transformers loads the result. A ModernBERT has a setting
instead.
"""

import json
import logging
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils.hub import cached_file

log = logging.getLogger("unskew")

STRENGTH = 12.0  # weight of the mean relative to the first token; the layer's normalisation sets the scale
POOLER = 0.3  # keeps the pooler's tanh in its nearly linear part

_CLASSIFIERS_READ = (None, "cls", "lasttoken")  # those of encoders the first token, those of decoders the last


# The linear layers of a layer: query, key, value and output of its attention, and the last of its feed-forward part.
_BERT = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense", "output.dense")
_LINEARS = {
    **dict.fromkeys(("bert", "camembert", "electra", "roberta", "xlm-roberta"), _BERT),
    "deberta-v2": (*(f"{name}_proj" for name in _BERT[:3]), *_BERT[3:]),
    "distilbert": ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "ffn.lin2"),
    "mpnet": ("attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o", "output.dense"),
}


def declared_pooling(base: str) -> str | None:
    """The pooling that a hub id or local folder declares in the layout of sentence-transformers, such as "mean".

    None if it declares none; "mean" if it declares that and more.
    """
    found = cached_file(
        base,
        "1_Pooling/config.json",
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if found is None:
        return None
    with open(found, encoding="utf-8") as file:
        config = json.load(file)
    modes = config.get("pooling_mode")  # one or more names; before sentence-transformers 6, a flag for each
    if modes is None:
        flags = [name for name, value in config.items() if name.startswith("pooling_mode_") and value]
        modes = [flag.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token") for flag in flags]
    modes = [modes] if isinstance(modes, str) else modes
    return "mean" if "mean" in modes else next(iter(modes), None)


def pool_as_declared(model: PreTrainedModel, base: str) -> None:
    """Let a classifier read, in place, what its base's sentence encoder pools; or warn that it reads something else."""
    declared, kind = declared_pooling(base), model.config.model_type
    if kind == "modernbert" and declared in ("cls", "mean"):
        model.config.classifier_pooling = declared
    elif kind in _LINEARS and declared == "mean":
        add_mean_layer(model)
    elif declared not in _CLASSIFIERS_READ:
        log.warning(
            "encoder: %s declares %s pooling, which a %s cannot do: it reads as its kind does, mostly the first token",
            base,
            declared,
            type(model).__name__,
        )


@torch.no_grad()
def add_mean_layer(model: PreTrainedModel) -> None:
    """Add to a classifier, in place, a last layer that starts as LayerNorm(first + STRENGTH * mean).

    Uniform attention (zero queries and keys) over identity values is the mean over unmasked tokens; a feed-forward
    part of zeros adds nothing. MPNet adds a bias of relative positions to all attention, which weighs the mean.

    Args:
        model: Classifier of a kind in `_LINEARS`.
    """
    body: Any = model.base_model
    layers, names = _layers(model), _LINEARS[model.config.model_type]
    layer: Any = type(layers[-1])(model.config).to(model.device, model.dtype)
    layer.train(model.training)
    eye = torch.eye(model.config.hidden_size)
    for name, factor in zip(names, (0.0, 0.0, 1.0, STRENGTH, 0.0), strict=True):
        linear = layer.get_submodule(name)
        _set(linear, factor * eye if factor else torch.zeros_like(linear.weight))
    if getattr(body, "pooler", None) is not None:
        _set(body.pooler.dense, POOLER * eye)
    layers.append(layer)
    model.config.num_hidden_layers = len(layers)


def mean_layer(model: PreTrainedModel) -> nn.Module | None:
    """The layer from `add_mean_layer`, if it is there and has not been trained since; else None."""
    names = _LINEARS.get(model.config.model_type)
    if names is None:
        return None
    last = _layers(model)[-1]
    uniform = not any(last.get_parameter(f"{name}.weight").any() for name in names[:2])
    return last if uniform else None


def _layers(model: PreTrainedModel) -> nn.ModuleList:
    body: Any = model.base_model
    return (body.transformer if model.config.model_type == "distilbert" else body.encoder).layer


def _set(linear: nn.Linear, weight: torch.Tensor) -> None:
    linear.weight.copy_(weight)
    linear.bias.zero_()
