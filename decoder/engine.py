"""Reads and writes after many prompts at once, with a causal language model. Knows token ids; no texts, no topics.

What it does that transformers' `generate` does not:

- the tokens that all prompts begin with go through the model once;
- prompts are read in small batches of like length and written on in large ones: reading is arithmetic, and more rows
  only add padding, while a step of writing reads every weight however many rows it is for;
- keys and values are written in place (see `slots`), and finished rows leave the batch;
- with guidance, a row and the same row without its mark are written on side by side from one reading of the prompt;
- batches fit the memory that is free, and are halved where that was still too much.

A row's tokens do not depend on the rows beside it, beyond floating-point ties. Models whose cache is more than keys and
values (sliding windows, recurrent states) go through `generate`, under the same budgets.
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
from .kv_cache import Memory, StaticKVCache, bytes_per_token, compact, plain_memory
from .sequences import last_logits, pad_left, plain

CPU_READ, GPU_READ = 1024, 16_384  # padded tokens in a forward pass over prompts; on a CPU, what its caches hold
CPU_PLAIN, GPU_PLAIN = 2048, 16_384  # padded tokens, outputs included, that go through `generate` together
CPU_WRITE, GPU_WRITE = 16_384, 262_144  # padded tokens, outputs included, that are written on together
MOST_ROWS = 256  # written on together: the logits of a step take memory too
MEMORY_SHARE = 0.5  # of what is free, for keys and values; the rest is for the passes themselves

Row = Sequence[int]
Progress = Callable[[int], Any]


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance (Sanchez et al. 2023, arXiv 2306.17806): bare + scale * (marked - bare), of logits.

    Attributes:
        topic_tokens: What follows each row in its marked form; the bare form goes without.
        scale: Above 1 outputs keep closer to their topic_tokens.
    """

    topic_tokens: Sequence[Row]
    scale: float


class Engine:
    """A model ready to read and write.

    Args:
        model: A causal language model, in evaluation mode.
        prefix: The tokens that every row begins with; may be none.
        pad_id: Fills rows up; masked.
        end_id: Ends an output.
    """

    def __init__(self, model: Any, prefix: Row, pad_id: int, end_id: int) -> None:
        self._model = model
        self._prefix = list(prefix)
        self._pad_id, self._end_id = pad_id, end_id
        self._takes = inspect.signature(plain(model).forward).parameters
        on_cpu = model.device.type == "cpu"
        self._read_tokens, self._write_tokens = (CPU_READ, CPU_WRITE) if on_cpu else (GPU_READ, GPU_WRITE)
        self._plain_tokens = CPU_PLAIN if on_cpu else GPU_PLAIN

    @torch.inference_mode()
    def read(self, rows: Sequence[Row], tokens_per_batch: int | None = None) -> Iterator[tuple[list[int], Tensor]]:
        """Logits (B, V) for the token after each row, a batch at a time with the rows' indices.

        Args:
            rows: Token ids, the prefix included.
            tokens_per_batch: Padded tokens in a batch; None chooses.
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
        """What is written after each row, the end token included where one came.

        Args:
            rows: Token ids, the prefix included.
            selector: Given the indices of a batch's rows, what chooses their tokens.
            limit: Most tokens to write after a row.
            tokens_per_batch: Padded tokens in a batch, outputs included; None chooses by the memory that is free.
            progress: Called with the number of rows done after each batch.
            guidance: The topic_tokens of the rows, which `rows` then lack, and how closely outputs keep to them.

        Raises:
            UserError: if guidance is asked of a model whose cache is more than keys and values.
            torch.OutOfMemoryError, MemoryError, RuntimeError: if a single row does not fit the memory.
        """
        shared, start = self._share(rows)
        if shared is None and guidance is not None:
            raise UserError("guidance needs a base whose cache is keys and values alone; leave it at 1 with this one")

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
        """The prefix's keys and values, and how many of its tokens all rows can use; None where there is more to it."""
        if not rows:
            return None, 0
        ids = self._prefix or list(rows[0][:1])  # with nothing to share, it still shows the cache's shapes
        cache = getattr(self._model(input_ids=self._tensor([ids]), use_cache=True), "past_key_values", None)
        return plain_memory(cache), min(len(self._prefix), min(map(len, rows)) - 1)

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
        """As `_write`, each row in two slots: without its mark, then with it."""
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
        """Write from what has been read: a row of the batch takes as many slots in a row as the chooser has copies."""
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
        """Fill slots with rows, longest first; logits (B, V) after them, and which positions hold tokens (B, longest).

        A row is [prefix] [padding] [the rest] [gap]: the padding makes up for the longest row of its pass, the
        gap for the longest of all.
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
            do_sample=False,  # sampling is the noise that the chooser adds
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
    """Rows (2B, ...) in turn from two tensors (B, ...)."""
    return torch.stack([first, second], dim=1).flatten(0, 1)
