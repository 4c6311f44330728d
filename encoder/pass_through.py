"""Lets new layers of a classifier's head pass the features on. Knows the layout of transformers' heads; trains nothing.

Most heads have a dense layer and an activation before their output layer. A checkpoint without a head lacks it, and
transformers' random weights would mix the features.
"""

import torch
from torch import nn
from transformers import PreTrainedModel

from .output_layer import last_layer

SCALE = 0.1  # keeps tanh, GELU and SiLU in their nearly linear parts
# DistilBERT's ReLU has no such part around 0: lifted by LIFT, it passes on features from -REACH upwards. The lift is
# small because a large constant among the features would outpace them in training.
LIFT = 0.3
REACH = 8.0


@torch.no_grad()
def pass_features_on(model: PreTrainedModel, missing: set[str]) -> None:
    """Give a head's new linear layers before the output layer, in place, a small multiple of the identity as weights.

    Args:
        model: Classifier.
        missing: Names of the weights that the checkpoint lacks.
    """
    output, _ = last_layer(model)
    lifted = model.config.model_type == "distilbert"
    for name, layer in model.named_modules():
        if name == output or not isinstance(layer, nn.Linear) or f"{name}.weight" not in missing:
            continue
        nn.init.eye_(layer.weight).mul_(LIFT / REACH if lifted else SCALE)
        if layer.bias is not None:
            nn.init.constant_(layer.bias, LIFT if lifted else 0.0)
        if lifted:
            _without_dropout(model)


def _without_dropout(model: PreTrainedModel) -> None:
    """Switch off DistilBERT's dropout of lifted features: what it drops of the lift would drown them."""
    model.config.seq_classif_dropout = 0.0
    setattr(model.get_submodule("dropout"), "p", 0.0)  # noqa: B010 modules take no plain values, says their type
