"""Attention on a CPU that leaves out keys which no query sees. Knows transformers' attention interface and no model.

Given a mask, torch's kernel multiplies every query by every key, those after it included. Here queries go through in
short runs, each with the keys up to its last visible one, and heads that share keys read them without a copy. The
results are those of transformers' `sdpa` up to rounding.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "causal_runs"
RUN = 64  # queries; runs of 32 to 128 take about as long
# Kinds of models that were tried: the code of some others does other things for an attention that is not named "sdpa".
KINDS = frozenset(
    [
        "cohere2",
        "gemma",
        "gemma3_text",
        "gpt2",
        "gpt_neox",
        "granite",
        "llama",
        "mistral",
        "olmo2",
        "phi",
        "phi3",
        "qwen2",
        "qwen3",
        "smollm3",
        "starcoder2",
    ]
)


def skip_unseen_keys(model: Any) -> None:
    """Let a causal language model on a CPU attend so, in place; other kinds, and other attention, stay as they are."""
    config = model.config
    if model.device.type == "cpu" and config.model_type in KINDS and config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


def causal_runs(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers' interface asks for it; anything unusual goes to transformers' own function.

    Args:
        module: The layer.
        query: Queries (B, H, T, D) of the last T positions.
        key: Keys (B, K, S, D); H is a multiple of K.
        value: Values (B, K, S, D).
        attention_mask: Whether a query sees a key, bool (B or 1, H or 1, T, S); None if it sees all keys up to its own
            position.
        dropout: Share of the weights to drop.
        scaling: Factor of the scores; None is 1/sqrt(D).
        **others: What only some models have.

    Returns:
        The outputs (B, T, H, D), and no weights.
    """
    length, positions = query.shape[2], key.shape[2]
    if length == 1 and attention_mask is None:  # given a mask, transformers copies no keys
        attention_mask = torch.ones(1, 1, 1, positions, dtype=torch.bool, device=query.device)
    usual = dropout == 0 and others.get("position_bias") is None and others.get("softcap") is None
    if length == 1 or not usual or attention_mask is None or attention_mask.dtype != torch.bool:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **others)
    runs = []
    for first in range(0, length, RUN):
        last = min(first + RUN, length)
        mask = attention_mask[:, :, first:last]
        seen = positions - length + last
        if mask[..., seen:].any():  # a model that sees some later positions
            seen = positions
        inputs = query[:, :, first:last], key[:, :, :seen], value[:, :, :seen], mask[..., :seen]
        runs.append(scaled_dot_product_attention(*inputs, scale=scaling, enable_gqa=True))
    return torch.cat(runs, dim=2).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, causal_runs)
AttentionMaskInterface.register(NAME, sdpa_mask)
