"""The outputs of a classifier, one for each topic. Knows the layout of transformers' classifiers; trains nothing."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ..corpus import Topics
from .output_layer import last_layer

# Other tools' settings that transform the outputs. Our outputs are logits of exclusive topics, whatever the base had.
_ACTIVATIONS = ("function_to_apply", "sbert_ce_default_activation_function", "sentence_transformers")


def place_topics(model: PreTrainedModel, topics: Topics, missing: set[str]) -> int:
    """Change a classifier in place so that its outputs are `topics`, in their order.

    A topic with the name of an existing label keeps its weights; the others get new weights.

    Args:
        model: Classifier with its original labels.
        topics: Topics, one output each.
        missing: Names of the weights that are already new.

    Returns: The number of topics that keep weights.
    """
    name, old = last_layer(model)
    named: dict[Any, str] = dict(model.config.id2label or {})
    rows = {} if f"{name}.weight" in missing else {label: int(row) for row, label in named.items()}
    new = nn.Linear(old.in_features, len(topics.names), bias=old.bias is not None).to(old.weight)
    nn.init.normal_(new.weight, std=getattr(model.config, "initializer_range", 0.02))
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    known = [(row, rows[topic]) for row, topic in enumerate(topics.names) if topic in rows]
    with torch.no_grad():
        for row, source in known:
            new.weight[row] = old.weight[source]
            if new.bias is not None:
                new.bias[row] = old.bias[source]
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, new)
    _describe(model, topics)
    return len(known)


def labels(topics: Topics) -> dict[str, Any]:
    """The topics in the form of a transformers configuration."""
    return {
        "id2label": dict(enumerate(topics.names)),
        "label2id": {name: index for index, name in enumerate(topics.names)},
    }


def _describe(model: PreTrainedModel, topics: Topics) -> None:
    model.config.update(labels(topics))
    model.config.problem_type = "single_label_classification"
    setattr(model, "num_labels", len(topics.names))  # noqa: B010 modules take no plain values, says their type
    for setting in _ACTIVATIONS:
        if hasattr(model.config, setting):
            delattr(model.config, setting)
