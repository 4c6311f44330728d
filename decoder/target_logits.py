"""A forward pass for training with logits only at predicted positions; shared first tokens are read once.

Logits and gradients equal those of whole rows up to rounding. Knows token ids and models; no loss, no topics.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from ..runtime import logits_agree
from .kv_cache import plain_memory
from .sequences import last_logits, pad_left, plain

SHORTEST_SHARED = 8  # tokens; fewer shared tokens cost more than they save
# Last tokens of a prefix that each row reads itself, because topic or target follow them if a text is empty.
KEPT = 2


def target_logits(model: Any, inputs: dict[str, Tensor], wanted: Tensor, shared: int = 0) -> Tensor:
    """Logits (N, V) after the N wanted positions, concatenated; other positions skip the output matrix.

    Args:
        model: Causal language model, with or without an adapter.
        inputs: `input_ids` and `attention_mask` (B, T), padded on the left.
        wanted: Mask of positions (B, T), bool, without the shared tokens.
        shared: Number of first tokens that are read once for all rows, see `shared_tokens`.
    """
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    extra: dict[str, Any] = {"use_cache": False}
    whole = mask
    if shared:
        extra = {"use_cache": True, "past_key_values": _read_once(model, ids, mask, shared)}
        # Shared tokens take the same number of columns in every row, so the remaining columns keep their mask.
        ids, mask, wanted = ids[:, shared:], mask[:, : mask.shape[1] - shared], wanted[:, shared:]
        whole = torch.cat([mask.new_ones(len(mask), shared), mask], dim=1)
    if "position_ids" in inspect.signature(plain(model).forward).parameters:
        extra["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0) + shared

    def keep(head: nn.Module, hidden: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (hidden[0][wanted][None],)

    head = plain(model).get_output_embeddings()
    hook = None if head is None else head.register_forward_pre_hook(keep)
    try:
        logits = model(input_ids=ids, attention_mask=whole, **extra).logits
    finally:
        if hook is not None:
            hook.remove()
    return logits[wanted] if logits.shape[:2] == wanted.shape else logits[0]


def _read_once(model: Any, ids: Tensor, mask: Tensor, shared: int) -> DynamicCache:
    start = int((mask[0] == 0).sum())
    extra: dict[str, Any] = {}
    if "logits_to_keep" in inspect.signature(plain(model).forward).parameters:
        extra["logits_to_keep"] = 1
    cache = DynamicCache()
    model(input_ids=ids[:1, start : start + shared], past_key_values=cache, use_cache=True, **extra)
    for layer in cache.layers:
        attention: Any = layer
        attention.keys, attention.values = (
            known.expand(len(ids), -1, -1, -1) for known in (attention.keys, attention.values)
        )
    return cache


@torch.no_grad()
def shared_tokens(model: PreTrainedModel, prefix: Sequence[int], pad_id: int) -> int:
    """Number of tokens of the common `prefix` that training may read once for all rows: nearly all, or none.

    None if the prefix is short, if dropout must differ between rows, if the model's cache has more than keys and
    values, or if two test rows get other logits than whole rows do.

    Args:
        model: Causal language model.
        prefix: Token ids that every row begins with.
        pad_id: Padding token id.
    """
    shared = len(prefix) - KEPT
    if shared < SHORTEST_SHARED or any(map(_drops_out, model.modules())):
        return 0
    start = torch.tensor([list(prefix)], device=model.device)
    training = model.training
    model.eval()
    try:
        if plain_memory(getattr(model(input_ids=start, use_cache=True), "past_key_values", None)) is None:
            return 0
        rows = [[*prefix, *prefix[:5]], [*prefix, *prefix[:2]]]
        inputs = {name: tensor.to(model.device) for name, tensor in pad_left(rows, pad_id).items()}
        wanted = torch.zeros_like(inputs["attention_mask"], dtype=torch.bool)
        wanted[:, -1] = True
        found = target_logits(model, inputs, wanted, shared)
        return shared if logits_agree(last_logits(model, inputs, last=1)[:, 0], found) else 0
    finally:
        model.train(training)


def _drops_out(module: nn.Module) -> bool:
    rates = (getattr(module, name, 0.0) for name in ("p", "attention_dropout", "dropout"))
    return any(isinstance(rate, float) and rate > 0 for rate in rates)
