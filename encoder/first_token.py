"""Computes the last layer of a BERT classifier only for the first token, the only one that its head reads.

Knows the layers of BERT and RoBERTa; changes no weights. Logits are the same up to rounding.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertForSequenceClassification, BertLayer
from transformers.models.roberta.modeling_roberta import RobertaForSequenceClassification, RobertaLayer
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaForSequenceClassification, XLMRobertaLayer


class _FirstToken:
    """A layer that gives only the first token's state (B, 1, D) instead of all (B, T, D); all while it is trained."""

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:
        """From the states (B, T, D) of all tokens and a mask (B, 1, T, T), added or boolean."""
        layer: Any = self
        if layer.training:
            return super().forward(hidden_states, attention_mask, *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        own, first = layer.attention.self, hidden_states[:, :1]
        query, key, value = (
            linear(states).unflatten(-1, (-1, own.attention_head_size)).transpose(1, 2)
            for linear, states in ((own.query, first), (own.key, hidden_states), (own.value, hidden_states))
        )
        mask = None if attention_mask is None else attention_mask[:, :, :1]
        found = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask, scale=own.scaling)
        return layer.feed_forward_chunk(layer.attention.output(found.transpose(1, 2).flatten(2), first))


class FirstTokenBertLayer(_FirstToken, BertLayer):
    """The layer of BERT."""


class FirstTokenRobertaLayer(_FirstToken, RobertaLayer):
    """The layer of RoBERTa."""


class FirstTokenXLMRobertaLayer(_FirstToken, XLMRobertaLayer):
    """The layer of XLM-RoBERTa."""


_KINDS: dict[type, tuple[type, type]] = {
    BertForSequenceClassification: (BertLayer, FirstTokenBertLayer),
    RobertaForSequenceClassification: (RobertaLayer, FirstTokenRobertaLayer),
    XLMRobertaForSequenceClassification: (XLMRobertaLayer, FirstTokenXLMRobertaLayer),
}


def read_first_token_alone(model: PreTrainedModel) -> None:
    """Let the last layer of a classifier compute only the first token, in place, if the head reads only that token.

    Other classifiers, and those with another attention than torch's own, are not changed.
    """
    plain, ours = _KINDS.get(type(model), (None, None))
    if plain is None or model.config._attn_implementation != "sdpa" or model.config.is_decoder:
        return
    last: Any = model.base_model.encoder.layer[-1]  # pyright: ignore[reportAttributeAccessIssue, reportIndexIssue]
    if type(last) is plain:
        last.__class__ = ours
