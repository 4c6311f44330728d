"""Generates after many prompts at once with a causal language model. Knows token ids; no texts, no topics.

Differences from transformers' `generate`:

- the tokens that all prompts share at their start go through the model once, for all calls while no weight changes;
- prompts are read in small batches of similar length, and decoded in large ones: reading is bound by arithmetic, so
  more rows only add padding, while a decoding step reads every weight for any number of rows;
- keys and values are written in place (see `kv_cache`), and finished rows leave the batch;
- with guidance, a row with its topic and the same row without it are decoded side by side after one reading of the
  prompt;
- batches fit the free memory, and are halved if memory still runs out.

A row's tokens do not depend on the other rows, except for ties in floating point. Models with more than keys and values
in their cache (sliding windows, recurrent states), or that count masked slots (MPT), use `generate` under the same
budgets.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.cache_utils import Cache

from ..common import UserError
from ..runtime import free_bytes, group_by_length, in_batches
from .generation import GuidedSelector, TokenSelector
from .kv_cache import KeptPrefix, Memory, StaticKVCache, bytes_per_token, compact, plain_memory
from .sequences import last_logits, pad_left, plain

CPU_READ, GPU_READ = 1024, 16_384  # padded tokens in a forward pass over prompts; on a CPU, as many as fit its caches
CPU_PLAIN, GPU_PLAIN = 2048, 16_384  # padded tokens of a batch for `generate`, outputs included
CPU_WRITE, GPU_WRITE = 16_384, 262_144  # padded tokens of a decoding batch, outputs included
MOST_ROWS = 256  # rows of a decoding batch: the logits of a step take memory too
GAP = 16  # masked slots that must change no logits
MEMORY_SHARE = 0.5  # share of the free memory for keys and values; the forward passes need the rest

Row = Sequence[int]
Progress = Callable[[int], Any]


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance (Sanchez et al. 2023, arXiv 2306.17806): bare + scale * (marked - bare), of logits.

    Attributes:
        topic_tokens: Topic tokens that follow each row in its marked form; the bare form has none.
        scale: Strength; above 1, outputs follow their topic more closely.
    """

    topic_tokens: Sequence[Row]
    scale: float


class Engine:
    """A model that is ready to read prompts and generate.

    Args:
        model: Causal language model in evaluation mode.
        prefix: Tokens that every row begins with; may be empty.
        pad_id: Padding token id.
        end_id: Id of the token that ends an output.
        kept: Keeper of the prefix's keys and values, for this model and prefix; None keeps them for one call.
    """

    def __init__(self, model: Any, prefix: Row, pad_id: int, end_id: int, kept: KeptPrefix | None = None) -> None:
        self._model = model
        self._prefix = list(prefix)
        self._kept = kept or KeptPrefix()
        self._pad_id, self._end_id = pad_id, end_id
        self._takes = inspect.signature(plain(model).forward).parameters
        on_cpu = model.device.type == "cpu"
        self._read_tokens, self._write_tokens = (CPU_READ, CPU_WRITE) if on_cpu else (GPU_READ, GPU_WRITE)
        self._plain_tokens = CPU_PLAIN if on_cpu else GPU_PLAIN

    @torch.inference_mode()
    def read(self, rows: Sequence[Row], tokens_per_batch: int | None = None) -> Iterator[tuple[list[int], Tensor]]:
        """Yield batches of row indices, with the logits (B, V) for the token after each row.

        Args:
            rows: Token ids, the prefix included.
            tokens_per_batch: Most padded tokens in a batch; None chooses by the device.
        """
        shared, start = self._share(rows)

        def work(batch: list[int]) -> Tensor:
            picked = [rows[i] for i in batch]
            if shared is None:
                return last_logits(self._model, self._padded(picked), last=1)[:, 0]
            slots = StaticKVCache(shared, start, len(picked), max(map(len, picked)))
            return self._read(picked, slots, start)[0]

        yield from in_batches([len(row) for row in rows], tokens_per_batch or self._read_tokens, work)

    @torch.inference_mode()
    def write(
        self,
        rows: Sequence[Row],
        selector: Callable[[list[int]], TokenSelector],
        limit: int,
        tokens_per_batch: int | None = None,
        progress: Progress | None = None,
        guidance: Guidance | None = None,
    ) -> list[list[int]]:
        """The generated tokens after each row, with the end token if there is one.

        Args:
            rows: Token ids, the prefix included.
            selector: Function from a batch's row indices to the selector of their tokens.
            limit: Most tokens to generate for a row.
            tokens_per_batch: Most padded tokens in a batch, outputs included; None chooses by the free memory.
            progress: Function called after each batch with the number of rows done.
            guidance: Topic tokens of the rows, which `rows` then lack, and the strength of guidance.

        Raises:
            UserError: If guidance is requested and the model's cache has more than keys and values.
            torch.OutOfMemoryError, MemoryError, RuntimeError: If a single row does not fit into memory.
        """
        shared, start = self._share(rows)
        if shared is None and guidance is not None:
            raise UserError(
                "guidance needs a base whose cache has only keys and values, and that counts no masked tokens; set "
                "guidance to 1 with this base"
            )

        def work(batch: list[int]) -> list[list[int]]:
            picked = [rows[i] for i in batch]
            if shared is None:
                return self._generate(picked, selector(batch), limit)
            if guidance is not None:
                topic_tokens = [guidance.topic_tokens[i] for i in batch]
                choose = GuidedSelector(selector(batch), guidance.scale)
                return self._write_guided(picked, topic_tokens, shared, start, choose, limit)
            slots = StaticKVCache(shared, start, len(picked), max(map(len, picked)) + limit)
            return self._write(picked, slots, start, selector(batch), limit)

        written: list[list[int]] = [[] for _ in rows]
        budget = tokens_per_batch or self._budget(shared)
        copies = 1 if guidance is None else 2
        sizes = [copies * (len(row) + limit) for row in rows]
        for batch, outputs in in_batches(sizes, budget, work, MOST_ROWS // copies):
            for i, output in zip(batch, outputs, strict=True):
                written[i] = output
            if progress is not None:
                progress(len(batch))
        return written

    def _share(self, rows: Sequence[Row]) -> tuple[Memory | None, int]:
        """The prefix's keys and values, and how many of its tokens all rows share; None where slots would be wrong."""
        if not rows:
            return None, 0

        def read() -> Memory | None:
            ids = self._prefix or list(rows[0][:1])  # with an empty prefix, one token still shows the cache's shapes
            outputs = self._model(input_ids=self._tensor([ids]), use_cache=True)
            memory = plain_memory(getattr(outputs, "past_key_values", None))
            return memory if memory is not None and self._ignores_gaps(memory, ids) else None

        return self._kept.memory(self._model, read), min(len(self._prefix), min(map(len, rows)) - 1)

    def _ignores_gaps(self, memory: Memory, ids: Row) -> bool:
        """Whether masked slots change no logits after `ids`, which are in memory.

        A model that takes no positions may count slots: MPT's attention is weaker the more of them lie between.
        """
        if "position_ids" in self._takes:
            return True

        def after(gap: int) -> Tensor:
            read, filled = len(ids), len(ids) + gap
            slots = StaticKVCache(memory, read, 1, filled + 1)
            slots.zero_padding(0, 1, read, filled)
            mask = self._tensor([[1] * read + [0] * gap + [1]])
            return self._forward(self._tensor([ids[-1:]]), mask, self._tensor([[read]]), slots.cache(filled))

        beside, apart = after(0), after(GAP)
        # Little more than rounding: where attention hardly looks back, a gap changes well under 1% of the logits.
        most = min(0.01, 1000 * torch.finfo(beside.dtype).eps)
        return bool((beside - apart).abs().max() <= most * beside.abs().max())

    def _budget(self, shared: Memory | None) -> int:
        if shared is None:
            return self._plain_tokens
        fitting = MEMORY_SHARE * free_bytes(self._model.device) / bytes_per_token(shared)
        return max(1, min(self._write_tokens, int(fitting)))

    def _write(
        self, rows: list[Row], slots: StaticKVCache, start: int, selector: TokenSelector, limit: int
    ) -> list[list[int]]:
        scores, mask = self._read(rows, slots, start)
        return self._go_on(scores, mask, self._tensor([len(row) for row in rows]), slots, selector, limit)

    def _write_guided(
        self, rows: list[Row], topic_tokens: list[Row], shared: Memory, start: int, selector: GuidedSelector, limit: int
    ) -> list[list[int]]:
        """Like `_write`, with each row in two slots: without its topic, then with it."""
        longest, own = len(rows[0]), self._tensor([len(row) for row in rows])
        read = StaticKVCache(shared, start, len(rows), longest)
        bare, mask = self._read(rows, read, start)
        padded = self._padded(topic_tokens)
        ids, given = padded["input_ids"], padded["attention_mask"]
        slots = read.doubled(longest, longest + ids.shape[1] + limit)
        slots.zero_padding(0, 2 * len(rows), longest, longest + ids.shape[1])
        positions = own[:, None] + (given.cumsum(dim=1) - 1).clamp(min=0)
        whole = torch.cat([mask, given], dim=1)
        marked = self._forward(ids, whole, positions, slots.cache(longest, 1, None, 2))
        without = torch.cat([mask, torch.zeros_like(given)], dim=1)
        return self._go_on(
            _paired(bare, marked), _paired(without, whole), _paired(own, own + given.sum(dim=1)), slots, selector, limit
        )

    def _go_on(
        self,
        scores: Tensor,
        mask: Tensor,
        positions: Tensor,
        slots: StaticKVCache,
        selector: TokenSelector | GuidedSelector,
        limit: int,
    ) -> list[list[int]]:
        """Decode after the prompts: each row takes as many consecutive slots as the selector has copies."""
        filled, copies = mask.shape[1], selector.copies
        rows = len(mask) // copies
        mask = torch.cat([mask, mask.new_ones(len(mask), limit)], dim=1)
        there, cache = list(range(rows)), slots.cache(filled)
        written: list[list[int]] = [[] for _ in range(rows)]
        for step in range(1, limit + 1):
            tokens = selector(scores)
            ids = tokens.tolist()
            for row, token in zip(there, ids, strict=True):
                written[row].append(token)
            done = [token == self._end_id for token in ids]
            if step == limit or all(done):
                break
            if any(done):
                order, movers, holes = compact([gone for gone in done for _ in range(copies)])
                slots.move(self._tensor(movers), self._tensor(holes), filled)
                there = [there[i // copies] for i in order[::copies]]
                stay = self._tensor(order)
                mask, positions = mask[stay], positions[stay]
                rows_left = stay[::copies] // copies
                tokens = tokens[rows_left]
                selector.keep(rows_left)
            filled += 1
            ids = tokens.repeat_interleave(copies) if copies > 1 else tokens
            scores = self._forward(ids[:, None], mask[:, :filled], positions[:, None], cache)
            positions = positions + 1
        return written

    def _read(self, rows: list[Row], slots: StaticKVCache, start: int) -> tuple[Tensor, Tensor]:
        """Fill slots with rows, longest first. Returns the logits (B, V) after them and the mask (B, longest).

        A row is [prefix] [padding] [the rest] [gap]: the padding fills up to the longest row of its pass, the gap to
        the longest row of all.
        """
        longest = len(rows[0])
        mask = torch.zeros(len(rows), longest, dtype=torch.long, device=self._model.device)
        mask[:, :start] = 1
        scores = []
        own = [len(row) - start for row in rows]
        for batch in group_by_length(range(len(rows)), own, self._read_tokens):
            first, last, end = batch[0], batch[-1] + 1, start + own[batch[0]]
            padded = self._padded([rows[i][start:] for i in batch])
            mask[first:last, start:end] = padded["attention_mask"]
            positions = (padded["attention_mask"].cumsum(dim=1) - 1).clamp(min=0) + start
            slots.zero_padding(first, last, end, longest)
            cache = slots.cache(start, first, last)
            scores.append(self._forward(padded["input_ids"], mask[first:last, :end], positions, cache))
        return torch.cat(scores), mask

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        extra: dict[str, Any] = {}
        if "logits_to_keep" in self._takes:
            extra["logits_to_keep"] = 1
        if "position_ids" in self._takes:
            extra["position_ids"] = positions
        return self._model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **extra).logits[
            :, -1
        ]

    def _generate(self, rows: list[Row], selector: TokenSelector, limit: int) -> list[list[int]]:
        inputs = self._padded(rows)
        settings = GenerationConfig(
            max_new_tokens=limit,
            do_sample=False,  # the selector samples by adding noise
            num_beams=1,
            eos_token_id=self._end_id,
            pad_token_id=self._pad_id,
        )
        produced = self._model.generate(**inputs, generation_config=settings, logits_processor=selector.processors)
        written = produced[:, inputs["input_ids"].shape[1] :].tolist()
        return [ids[: ids.index(self._end_id) + 1] if self._end_id in ids else ids for ids in written]

    def _padded(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        return {name: tensor.to(self._model.device) for name, tensor in pad_left(rows, self._pad_id).items()}

    def _tensor(self, values: Any) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._model.device)


def _paired(first: Tensor, second: Tensor) -> Tensor:
    """Interleave the rows of two tensors (B, ...) as (2B, ...)."""
    return torch.stack([first, second], dim=1).flatten(0, 1)
