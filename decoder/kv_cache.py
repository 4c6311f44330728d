"""A cache of keys and values in memory that is allocated once and written in place, also when rows leave the batch.

Knows transformers' cache interface; knows nothing of the tokens. transformers' own growing cache copies all keys and
values for every new token.
"""

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from ..runtime import weights_of

Memory = list[tuple[Tensor, Tensor]]  # keys and values (rows, heads, positions, size) of each layer


class SlotLayer(DynamicLayer):
    """One attention layer's keys and values, with one row of the batch in each slot.

    Args:
        memory: Memory of the keys and of the values, each (slots, heads, room, size).
        filled: Number of filled positions, the same in every slot.
    """

    def __init__(self, memory: tuple[Tensor, Tensor], filled: int) -> None:
        super().__init__()
        self.keys, self.values = self._memory = memory
        self.dtype, self.device = memory[0].dtype, memory[0].device
        self.is_initialized = True
        self._filled = filled

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write new positions (B, heads, T, size) of the first B slots; returns all their filled positions."""
        rows, start, end = len(key_states), self._filled, self._filled + key_states.shape[2]
        keys, values = self._memory
        keys[:rows, :, start:end] = key_states
        values[:rows, :, start:end] = value_states
        self._filled = end
        return keys[:rows, :, :end], values[:rows, :, :end]

    def get_seq_length(self) -> int:
        """Number of filled positions."""
        return self._filled


class StaticKVCache:
    """The cache of a batch whose rows share their first tokens.

    Args:
        shared: Keys and values of the shared tokens, for one row.
        start: Number of these tokens to use.
        slots: Most rows.
        room: Most positions, `start` included.
    """

    def __init__(self, shared: Memory, start: int, slots: int, room: int) -> None:
        def memory(known: Tensor) -> Tensor:
            made = known.new_empty(slots, known.shape[1], room, known.shape[3])
            made[:, :, :start] = known[:, :, :start]
            return made

        self._memory: Memory = [(memory(keys), memory(values)) for keys, values in shared]

    def cache(self, filled: int, first: int = 0, last: int | None = None, step: int = 1) -> Cache:
        """The cache that a forward pass over rows `first:last:step` reads and extends."""
        own = slice(first, last, step)
        return Cache(layers=[SlotLayer((k[own], v[own]), filled) for k, v in self._memory])

    def doubled(self, filled: int, room: int) -> "StaticKVCache":
        """A cache with twice the slots, each row copied into two consecutive slots, with room for `room` positions."""

        def memory(known: Tensor) -> Tensor:
            made = known.new_empty(2 * len(known), known.shape[1], room, known.shape[3])
            made[:, :, :filled] = known[:, :, :filled].repeat_interleave(2, dim=0)
            return made

        double = copy(self)
        double._memory = [(memory(keys), memory(values)) for keys, values in self._memory]
        return double

    def zero_padding(self, first: int, last: int, start: int, stop: int) -> None:
        """Zero the positions that stay empty: they are masked, but memory may contain NaN, and 0 times NaN is NaN."""
        for part in (part for pair in self._memory for part in pair):
            part[first:last, :, start:stop] = 0

    def move(self, sources: Tensor, holes: Tensor, filled: int) -> None:
        """Copy rows into other slots."""
        for part in (part for pair in self._memory for part in pair):
            part[holes, :, :filled] = part[sources, :, :filled]


def plain_memory(cache: object) -> Memory | None:
    """Keys and values in a model's cache; None if it has anything else, such as sliding windows or recurrent states."""
    if not isinstance(cache, DynamicCache):
        return None
    memory: Memory = []
    for layer in cache.layers:
        if type(layer) is not DynamicLayer or layer.keys is None or layer.values is None:
            return None
        memory.append((layer.keys, layer.values))
    return memory


class KeptPrefix:
    """Keys and values of the tokens that all prompts begin with, kept from call to call while the weights stay.

    A weight may be replaced or changed in place; only a change in place of its `data` goes unseen.
    """

    def __init__(self) -> None:
        self._kept: tuple[_Weights, Memory | None] | None = None

    def memory(self, model: Any, read: Callable[[], Memory | None]) -> Memory | None:
        """The result of `read`, or its last one if no weight has changed since and none is in training."""
        weights = _frozen_weights(model)
        if weights is None:
            return read()
        kept = self._kept
        if kept is None or not _same(kept[0], weights):
            kept = self._kept = (weights, read())
        return kept[1]

    def __getstate__(self) -> dict[str, Any]:
        return {"_kept": None}  # a copy of the model has other weights


_Weights = list[tuple[object, ...]]  # each with what a change of it alters


def _frozen_weights(model: Any) -> _Weights | None:
    """A model's weights; None if some can be trained or belong to an adapter, which can be switched off unseen."""
    weights = weights_of(model)
    if any(weight.requires_grad for weight in weights) or hasattr(model, "peft_config"):
        return None
    return [(torch.is_autocast_enabled(model.device.type),), *((weight, *_state(weight)) for weight in weights)]


def _state(weight: Tensor) -> tuple[int, int]:
    """Where a weight is, if it says so, and its version, which every change in place raises."""
    place = weight.data_ptr() if weight.layout == torch.strided else 0
    return place, 0 if weight.is_inference() else weight._version


def _same(before: _Weights, now: _Weights) -> bool:
    return len(before) == len(now) and all(
        one[0] is other[0] and one[1:] == other[1:] for one, other in zip(before, now, strict=True)
    )


@torch.no_grad()
def has_plain_cache(model: Any) -> bool:
    """Whether a model's cache has only keys and values; reads one token."""
    training = model.training
    token = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    cache = getattr(model.eval()(input_ids=token, use_cache=True), "past_key_values", None)
    model.train(training)
    return plain_memory(cache) is not None


def bytes_per_token(memory: Memory) -> int:
    """Bytes of a token's keys and values in all layers."""
    return sum(t.shape[1] * t.shape[3] * t.element_size() for pair in memory for t in pair)


def compact(done: Sequence[bool]) -> tuple[list[int], list[int], list[int]]:
    """A plan for removing rows: the new order of those that stay, the rows to move, and the slots they move into.

    The last rows move into the slots of finished rows, so the first slots stay filled and little is copied.
    """
    stay = len(done) - sum(done)
    holes = [i for i in range(stay) if done[i]]
    movers = [i for i in range(stay, len(done)) if not done[i]]
    order = list(range(stay))
    for hole, mover in zip(holes, movers, strict=True):
        order[hole] = mover
    return order, movers, holes
