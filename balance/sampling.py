"""Tempered sampling: the rows of an epoch, and different views of repeated rows.

Knows counts, row indices and token ids; knows nothing of texts or models. imbalanced-learn resamples a table once and
repeats rows unchanged; here every epoch is sampled again and every repeat has a number.

Everything is a function of (seed, epoch). Distributed ranks agree without communication, and a resumed run samples the
interrupted epoch again.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from ..common import UserError


def tempered_counts(counts: Sequence[int], ratio: float = 3.0, total: int | None = None) -> list[int]:
    """Draws per topic in an epoch; the largest is at most `ratio` times the smallest.

    Counts already within the ratio stay as they are. Otherwise draws are proportional to n_c^a with
    a = log(ratio) / log(n_max / n_min) (exponent smoothing of the sampling distribution, Lample & Conneau 2019,
    section 3.1), rounded so that the ratio still holds. A topic without rows gets no draw.

    Args:
        counts: Training rows per topic.
        ratio: Largest over smallest topic, at least 1. 1 is full balance, which is rarely wise: the rarest rows repeat
            most.
        total: Rows of an epoch, up to rounding, but at least one for each topic that has rows; None is the sum of the
            counts.
    """
    present = [int(count) for count in counts if count > 0]
    if not present or any(count < 0 for count in counts):
        raise UserError("counts must be rows per topic, at least one of them over 0")
    if not 1 <= ratio < math.inf:
        raise UserError(f"the ratio between the largest and the smallest topic must be at least 1, got {ratio}")
    if total is not None and total < 1:
        raise UserError(f"an epoch needs at least one row, got a total of {total}")
    if total is None and max(present) <= ratio * min(present):
        return [int(count) for count in counts]
    spread = max(present) / min(present)
    exponent = min(1.0, math.log(ratio) / math.log(spread)) if spread > 1 else 1.0
    shares = [count**exponent if count > 0 else 0.0 for count in counts]
    scale = (sum(present) if total is None else total) / sum(shares)
    least = max(1, round(scale * min(share for share in shares if share > 0)))
    most = max(least, math.floor(ratio * least))
    return [min(most, max(least, round(scale * share))) if share > 0 else 0 for share in shares]


class SampledRow(int):
    """A row index with the view of the row to show. As an int, it passes through samplers and loaders.

    Attributes:
        repeat: Earlier occurrences of the row in the epoch: 0 for the first time, 1 for the second, and so on.
        seed: Seed for `span_dropout`; differs by draw, epoch and row.
    """

    repeat: int
    seed: str

    def __new__(cls, row: int, repeat: int = 0, seed: str = "") -> "SampledRow":
        """The row, with its number of earlier occurrences."""
        view = super().__new__(cls, row)
        view.repeat, view.seed = repeat, seed
        return view


@dataclass(frozen=True, eq=False)
class SampledRows(Sequence[SampledRow]):
    """The sampled rows of an epoch, as arrays; a `SampledRow` is made on access. `np.asarray` gives the row indices.

    Attributes:
        rows: Row indices (n,), int64.
        repeats: Earlier occurrences of each row (n,), int32.
        sources: Row (n,) that each view was drawn for; differs from `rows` where a paraphrase replaces it.
        seeds: Prefixes of the views' seeds.
        kinds: Index into `seeds` for each view (n,), uint8.
    """

    rows: np.ndarray
    repeats: np.ndarray
    sources: np.ndarray
    seeds: tuple[str, ...]
    kinds: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> SampledRow: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[SampledRow]: ...
    def __getitem__(self, index: int | slice) -> SampledRow | Sequence[SampledRow]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        seed = f"{self.seeds[self.kinds[index]]}/{self.sources[index]}"
        return SampledRow(int(self.rows[index]), int(self.repeats[index]), seed)

    def __array__(self, dtype: type | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.rows, dtype=dtype, copy=copy)

    def followed_by(self, other: "SampledRows", offset: int) -> "SampledRows":
        """These rows, then the other rows shifted by `offset`."""
        return SampledRows(
            np.concatenate([self.rows, other.rows + offset]),
            np.concatenate([self.repeats, other.repeats]),
            np.concatenate([self.sources, other.sources]),
            self.seeds + other.seeds,
            np.concatenate([self.kinds, other.kinds + np.uint8(len(self.seeds))]),
        )


class TemperedSampler:
    """The rows of an epoch under tempered sampling; `draw(epoch)` gives `SampledRows` of rows in [0, n).

    Within an epoch the rows of a topic occur equally often, give or take one. Each epoch continues where the last one
    stopped, so this holds over epochs too, and an undersampled topic is seen whole in the end.

    Args:
        labels: Topic index of each row (n,).
        ratio: Largest over smallest topic, see `tempered_counts`.
        seed: Random seed of the order, which differs from epoch to epoch.
        total: Rows of an epoch; None is n.
        paraphrases: Paraphrases of rows, as {row: rows that say the same in other words}. Repeats of a row use these
            first, each epoch starting with another. Their indices come after the n rows of `labels`, so they are not
            drawn otherwise.
    """

    def __init__(
        self,
        labels: Sequence[int] | np.ndarray,
        ratio: float = 3.0,
        *,
        seed: int = 0,
        total: int | None = None,
        paraphrases: Mapping[int, Sequence[int]] | None = None,
    ) -> None:
        self._seed = seed
        self._paraphrases = paraphrases or {}
        found = np.asarray(labels, dtype=np.int64)
        by_topic = np.argsort(found, kind="stable")
        self._rows = np.split(by_topic, np.flatnonzero(np.diff(found[by_topic])) + 1)
        shuffle = random.Random(f"{seed}/rows").shuffle
        for own in self._rows:
            shuffle(own)  # pyright: ignore[reportArgumentType]
        self._draws = tempered_counts([len(own) for own in self._rows], ratio, total)
        if any(row < len(labels) for others in self._paraphrases.values() for row in others):
            raise UserError("paraphrases must come after the rows they paraphrase")

    def __len__(self) -> int:
        """Rows of an epoch."""
        return sum(self._draws)

    def __call__(self, epoch: int) -> SampledRows:
        """The views of an epoch, in random order."""
        # A window over the topic's rows laid end to end: no row occurs twice before every row has occurred once.
        steps = [np.arange(draws) for draws in self._draws]
        sources = [own[(epoch * len(step) + step) % len(own)] for own, step in zip(self._rows, steps, strict=True)]
        repeats = [step // len(own) for own, step in zip(self._rows, steps, strict=True)]
        order = np.arange(len(self))
        random.Random(f"{self._seed}/{epoch}").shuffle(order)  # pyright: ignore[reportArgumentType]
        return self._with_paraphrases(np.concatenate(sources)[order], np.concatenate(repeats)[order], epoch)

    def _with_paraphrases(self, sources: np.ndarray, repeats: np.ndarray, epoch: int) -> SampledRows:
        rows = sources.copy()
        paraphrased = np.fromiter(self._paraphrases, dtype=np.int64, count=len(self._paraphrases))
        for i in np.flatnonzero((repeats > 0) & np.isin(sources, paraphrased)).tolist():
            others, repeat = self._paraphrases[int(sources[i])], int(repeats[i])
            if repeat <= len(others):
                rows[i] = others[(epoch + repeat - 1) % len(others)]
            repeats[i] = max(0, repeat - len(others))
        kinds = np.zeros(len(rows), dtype=np.uint8)
        return SampledRows(rows, repeats.astype(np.int32), sources, (f"{self._seed}/{epoch}",), kinds)


def span_dropout(
    token_ids: Sequence[int], repeat: int, seed: int | str, share: float = 0.15, span: int = 3
) -> list[int]:
    """View number `repeat` of a text: view 0 is the text itself; the others lack some spans and differ from each other.

    The text is cut into spans (single tokens if it is short). Each span is dropped with probability `share`; at least
    one is dropped, and never all. The views of one seed differ as long as the text allows it: four different tokens
    have 14 views besides the text, a single token has none. Word dropout (Iyyer et al. 2015), on spans.

    Args:
        token_ids: Tokens of the text, without special tokens like [CLS], which would be dropped too.
        repeat: Number of the view.
        seed: Random seed of the views, `SampledRow.seed`.
        share: Expected share of spans dropped, in (0, 1); rises to a half if a short text runs out of views.
        span: Tokens per span, at least 1.
    """
    if not 0 < share < 1 or span < 1:
        raise UserError(f"span dropout needs a share in (0, 1) and spans of at least 1, got {share} and {span}")
    tokens = tuple(token_ids)
    if repeat == 0 or len(tokens) < 2:
        return list(tokens)
    size = span if len(tokens) >= 8 * span else 1
    spans = [tokens[start : start + size] for start in range(0, len(tokens), size)]
    generator = random.Random(f"{seed}/{len(tokens)}")
    seen: set[tuple[int, ...]] = {tokens}
    view = tokens
    for _ in range(30 * repeat):
        view = _without_some(spans, generator, share)
        if view in seen:
            # The likely views are used up: make the others likelier.
            share = min(0.5, 1.1 * share)
        seen.add(view)
        if len(seen) > repeat:
            break
    return list(view)


def _without_some(spans: Sequence[tuple[int, ...]], generator: random.Random, share: float) -> tuple[int, ...]:
    dropped = {position for position in range(len(spans)) if generator.random() < share}
    dropped = dropped or {generator.randrange(len(spans))}
    if len(dropped) == len(spans):
        dropped.remove(generator.randrange(len(spans)))
    return tuple(token for position, own in enumerate(spans) if position not in dropped for token in own)
