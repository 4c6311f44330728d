"""Chooses the tokens of outputs, with sampling that does not depend on the other rows of a batch.

Knows transformers' generation; knows nothing of topics.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from .settings import GenerationSettings

TokenCallback = Callable[[int, Sequence[int]], bool]

_MASK = 0xFFFFFFFF


class TokenSelector:
    """Chooses the next token of each row of a batch: the most probable one, or the row's own random sample.

    Args:
        options: Options of generation.
        suppressed: Ids that are never chosen.
        row_seeds: 32-bit seeds of the rows, see `row_seed`.
        device: Device of the logits.
    """

    copies = 1  # slots of a row in a batch

    def __init__(
        self, options: GenerationSettings, suppressed: Sequence[int], row_seeds: Sequence[int], device: torch.device
    ) -> None:
        steps: list[LogitsProcessor] = [SuppressTokens(torch.tensor(suppressed, dtype=torch.long, device=device))]
        if options.sample:
            steps.append(TemperatureLogitsWarper(float(options.temperature)))
            if options.top_p < 1:
                steps.append(TopPLogitsWarper(options.top_p))
            steps.append(GumbelNoise(torch.tensor(row_seeds, device=device)))
        self.processors = LogitsProcessorList(steps)

    def __call__(self, scores: Tensor) -> Tensor:
        """Tokens (B,) for logits (B, V), which are overwritten."""
        ids: Any = None  # earlier tokens, which no processor here uses
        return self.processors(ids, scores.float()).argmax(dim=1)

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows of the batch, in this order."""
        for step in self.processors:
            if isinstance(step, GumbelNoise):
                step.keep(rows)


class WatchedSelector(TokenSelector):
    """A selector that reports each row as it grows, and ends it on request.

    Args:
        selector: Selector of the tokens.
        rows: Indices of the batch's rows.
        watch: Function called with a row's index and its tokens so far; the row ends if it returns False.
        end_id: Id of the token that ends an output.
    """

    def __init__(self, selector: TokenSelector, rows: Sequence[int], watch: TokenCallback, end_id: int) -> None:
        self.processors = selector.processors
        self._selector, self._watch, self._end_id = selector, watch, end_id
        self._there: list[tuple[int, list[int]]] = [(row, []) for row in rows]

    def __call__(self, scores: Tensor) -> Tensor:
        """Tokens (B,) for logits (B, V), which are overwritten."""
        tokens = self._selector(scores)
        for place, ((row, written), token) in enumerate(zip(self._there, tokens.tolist(), strict=True)):
            written.append(token)
            if not self._watch(row, written):
                tokens[place] = self._end_id
        return tokens

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows of the batch, in this order."""
        self._selector.keep(rows)
        self._there = [self._there[i] for i in rows.tolist()]


class GuidedSelector:
    """Chooses from two distributions for each row, without its topic and with it, side by side.

    Args:
        selector: Selector that gets the guided logits bare + scale * (marked - bare).
        scale: Strength of guidance, at least 1.
    """

    copies = 2

    def __init__(self, selector: TokenSelector, scale: float) -> None:
        self._selector, self._scale = selector, scale

    def __call__(self, scores: Tensor) -> Tensor:
        """Tokens (B,) for logits (2B, V)."""
        bare, marked = scores.float().unflatten(0, (-1, 2)).unbind(1)
        return self._selector(torch.lerp(bare, marked, self._scale))

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows of the batch, in this order."""
        self._selector.keep(rows)


class SuppressTokens(LogitsProcessor):
    """Suppresses tokens in place; transformers' own processor scans the whole vocabulary at every step."""

    def __init__(self, ids: Tensor) -> None:
        self._ids = ids

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (B, V), with minus infinity for the suppressed ids."""
        return scores.index_fill_(1, self._ids, -torch.inf)


def row_seed(seed: int, *parts: str) -> int:
    """A 32-bit seed of a row, which depends only on the seed and the parts, not on the row's position."""
    return int.from_bytes(blake2b("\0".join([str(seed), *parts]).encode("utf-8", "replace"), digest_size=4).digest())


class GumbelNoise(LogitsProcessor):
    """Gumbel noise on logits, so that their maximum is a sample from the softmax (Gumbel 1954; "Gumbel-max trick").

    The noise is a hash of row, step and token (the 32-bit finaliser of MurmurHash3). A shared stream of random numbers
    would make a row's output depend on its batch.

    Args:
        row_seeds: 32-bit seeds (B,) of the rows, int64.
    """

    def __init__(self, row_seeds: Tensor) -> None:
        self._keys = row_seeds

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (B, V) plus noise; the rows' seeds advance, so that each step has its own noise."""
        self._keys = _mix(self._keys + 0x9E3779B9)
        tokens = torch.arange(scores.shape[-1], device=scores.device)
        # float64: in float32 the largest uniforms would round to 1, which gives infinite noise.
        uniform = (_mix(self._keys[:, None] ^ _mix(tokens + 1)).double() + 0.5) / 2.0**32
        gumbel = -torch.log(-torch.log(uniform))
        return scores + gumbel.to(scores.dtype)

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows of the batch, in this order."""
        self._keys = self._keys[rows]


def _mix(bits: Tensor) -> Tensor:
    """MurmurHash3's finaliser on the low 32 bits of int64 values."""
    bits = bits & _MASK
    bits = ((bits ^ (bits >> 16)) * 0x85EBCA6B) & _MASK
    bits = ((bits ^ (bits >> 13)) * 0xC2B2AE35) & _MASK
    return bits ^ (bits >> 16)
