"""Mean pooling for BERT classifiers, by weights alone. Knows BERT's layers; trains nothing.

The features of a sentence encoder are the mean of its tokens, but transformers' BERT classifier reads only the first
token. So one more layer of the same kind is added, whose weights make it start as `first token + STRENGTH * mean of all
tokens`. It is trained like any other layer, and plain transformers loads the result.
"""

import json
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertLayer
from transformers.utils.hub import cached_file

STRENGTH = 12.0  # weight of the mean relative to the first token; the layer's normalisation sets the scale
POOLER = 0.3  # keeps the pooler's tanh in its nearly linear part


def pools_by_mean(base: str) -> bool:
    """Whether a hub id or local folder declares mean pooling, in the layout of sentence-transformers."""
    found = cached_file(
        base,
        "1_Pooling/config.json",
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if found is None:
        return False
    with open(found, encoding="utf-8") as file:
        return bool(json.load(file).get("pooling_mode_mean_tokens"))


@torch.no_grad()
def add_mean_layer(model: PreTrainedModel) -> None:
    """Add to a BERT classifier, in place, a last layer that starts as LayerNorm(first + STRENGTH * mean).

    Uniform attention (zero queries and keys) over identity values is the mean over unmasked tokens; a feed-forward
    part of zeros adds nothing.
    """
    body: Any = model.base_model
    layer: Any = BertLayer(model.config, layer_idx=len(body.encoder.layer)).to(model.device, model.dtype)
    layer.train(model.training)
    eye = torch.eye(model.config.hidden_size)
    attention = layer.attention
    for part in (attention.self.query, attention.self.key, layer.output.dense):
        _set(part, torch.zeros_like(part.weight))
    _set(attention.self.value, eye)
    _set(attention.output.dense, STRENGTH * eye)
    _set(body.pooler.dense, POOLER * eye)
    body.encoder.layer.append(layer)
    model.config.num_hidden_layers = len(body.encoder.layer)


def mean_layer(model: PreTrainedModel) -> nn.Module | None:
    """The layer from `add_mean_layer`, if it is there and has not been trained since; else None."""
    layers: Any = getattr(getattr(model.base_model, "encoder", None), "layer", None)
    if not layers or not isinstance(layers[-1], BertLayer):
        return None
    attention: Any = layers[-1].attention
    uniform = not any(part.weight.any() for part in (attention.self.query, attention.self.key))
    return layers[-1] if uniform else None


def _set(linear: nn.Linear, weight: torch.Tensor) -> None:
    linear.weight.copy_(weight)
    linear.bias.zero_()
