"""Keys and values of a batch in memory set aside once: written in place, and rows leave without moving the others.

Knows transformers' cache interface and nothing of what the tokens are. Against transformers' own growing cache it saves
the copy of all keys and values that every new token costs there.
"""

from collections.abc import Sequence
from copy import copy

from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

Memory = list[tuple[Tensor, Tensor]]  # keys and values (rows, heads, positions, size) of each layer


class SlotLayer(DynamicLayer):
    """One attention layer's keys and values, a row of the batch in each slot.

    Args:
        memory: Memory of keys and of values, each (slots, heads, room, size).
        filled: Positions of every slot that hold something, from the first on.
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
        """Write new positions (B, heads, T, size) of the first B slots; returns all that is filled of these."""
        rows, start, end = len(key_states), self._filled, self._filled + key_states.shape[2]
        keys, values = self._memory
        keys[:rows, :, start:end] = key_states
        values[:rows, :, start:end] = value_states
        self._filled = end
        return keys[:rows, :, :end], values[:rows, :, :end]

    def get_seq_length(self) -> int:
        """Positions filled."""
        return self._filled


class StaticKVCache:
    """The cache of a batch whose rows share their first tokens.

    Args:
        shared: Keys and values of the shared tokens, one row.
        start: How many of these tokens are taken.
        slots: Rows there is room for.
        room: Positions there is room for, `start` included.
    """

    def __init__(self, shared: Memory, start: int, slots: int, room: int) -> None:
        def memory(known: Tensor) -> Tensor:
            made = known.new_empty(slots, known.shape[1], room, known.shape[3])
            made[:, :, :start] = known[:, :, :start]
            return made

        self._memory: Memory = [(memory(keys), memory(values)) for keys, values in shared]

    def cache(self, filled: int, first: int = 0, last: int | None = None, step: int = 1) -> Cache:
        """What a forward pass over rows `first:last:step` reads and extends."""
        own = slice(first, last, step)
        return Cache(layers=[SlotLayer((k[own], v[own]), filled) for k, v in self._memory])

    def doubled(self, filled: int, room: int) -> "StaticKVCache":
        """Twice the slots, what is filled of each in two of them in a row, with room for `room` positions."""

        def memory(known: Tensor) -> Tensor:
            made = known.new_empty(2 * len(known), known.shape[1], room, known.shape[3])
            made[:, :, :filled] = known[:, :, :filled].repeat_interleave(2, dim=0)
            return made

        double = copy(self)
        double._memory = [(memory(keys), memory(values)) for keys, values in self._memory]
        return double

    def zero_padding(self, first: int, last: int, start: int, stop: int) -> None:
        """Zero positions that stay empty: they are masked, but 0 times whatever the memory held could be NaN."""
        for part in (part for pair in self._memory for part in pair):
            part[first:last, :, start:stop] = 0

    def move(self, sources: Tensor, holes: Tensor, filled: int) -> None:
        """Copy rows into the slots of others."""
        for part in (part for pair in self._memory for part in pair):
            part[holes, :, :filled] = part[sources, :, :filled]


def plain_memory(cache: object) -> Memory | None:
    """Keys and values in a model's cache; None where it holds less or more: sliding windows, recurrent states."""
    if not isinstance(cache, DynamicCache):
        return None
    memory: Memory = []
    for layer in cache.layers:
        if type(layer) is not DynamicLayer or layer.keys is None or layer.values is None:
            return None
        memory.append((layer.keys, layer.values))
    return memory


def bytes_per_token(memory: Memory) -> int:
    """What a token's keys and values take in all layers."""
    return sum(t.shape[1] * t.shape[3] * t.element_size() for pair in memory for t in pair)


def compact(done: Sequence[bool]) -> tuple[list[int], list[int], list[int]]:
    """How rows leave: the new order of those that stay, the rows to move, and the slots they move into.

    The last rows move into the slots of those that are done, so what stays fills the first slots and little is copied.
    """
    stay = len(done) - sum(done)
    holes = [i for i in range(stay) if done[i]]
    movers = [i for i in range(stay, len(done)) if not done[i]]
    order = list(range(stay))
    for hole, mover in zip(holes, movers, strict=True):
        order[hole] = mover
    return order, movers, holes
