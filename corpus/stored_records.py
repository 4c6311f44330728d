"""Records that stay on disk: a view of a `RowStore` as a sequence of records. Knows no model.

A view needs two numbers per row in memory. Selecting rows, renaming topics and changing topics make further views of
the same file, so both stages, all phases, seeds and arms share it.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import overload

import numpy as np

from ..common import fingerprint
from .checks import overlapping
from .records import Record
from .row_store import BLOCK, TEXTS, RowStore, text_digests
from .topics import Topics


@dataclass(frozen=True, eq=False)
class StoredRecords(Sequence[Record]):
    """Rows of a store, each under a topic.

    Attributes:
        store: The file.
        rows: Their numbers in the file (n,), ascending.
        codes: The topic (n,) of each, by its number in `names`.
        names: Names of topics.
    """

    store: RowStore
    rows: np.ndarray
    codes: np.ndarray
    names: tuple[str, ...]

    @classmethod
    def all_of(cls, store: RowStore) -> "StoredRecords":
        """Every row of a store."""
        return cls(store, np.arange(store.rows), store.column("topic"), store.names)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> "StoredRecords": ...
    def __getitem__(self, index: int | slice) -> "Record | StoredRecords":
        if isinstance(index, slice):
            return replace(self, rows=self.rows[index], codes=self.codes[index])
        row = int(self.rows[index])
        (block,) = self.store.blocks(TEXTS, [row // BLOCK])
        id, text, target = (column[row % BLOCK].as_py() for column in block.columns)
        return Record(text, id, self.names[self.codes[index]], target)

    def __iter__(self) -> Iterator[Record]:
        bounds = np.searchsorted(self.rows, np.arange(0, self.store.rows + BLOCK, BLOCK))
        numbers = np.flatnonzero(np.diff(bounds)).tolist()
        for number, block in zip(numbers, self.store.blocks(TEXTS, numbers), strict=True):
            own = slice(bounds[number], bounds[number + 1])
            ids, texts, targets = (column.to_pylist() for column in block.take(self.rows[own] % BLOCK).columns)
            topics = [self.names[code] for code in self.codes[own].tolist()]
            for text, id, topic, target in zip(texts, ids, topics, targets, strict=True):
                yield Record(text, id, topic, target)

    @cached_property
    def state(self) -> str:
        """64 hex digits that change with the rows and their topics."""
        digests = [hashlib.sha256(array.tobytes()).hexdigest() for array in (self.rows, self.codes)]
        return fingerprint(self.store.state, digests, self.names)

    @property
    def topic_counts(self) -> Mapping[str, int]:
        """Number of rows of each topic that has any."""
        counts = np.bincount(self.codes, minlength=len(self.names)).tolist()
        found: Counter[str] = Counter()
        for name, count in zip(self.names, counts, strict=True):
            if count:
                found[name] += count  # two numbers may have one name
        return found

    @property
    def have_targets(self) -> np.ndarray:
        """Whether each row has a target (n,), bool."""
        return self.store.column("has_target")[self.rows]

    def overlapping(self, others: Sequence[Record]) -> np.ndarray:
        """Whether the text of each row (n,), white space aside, also occurs in `others`; bool."""
        known = np.sort(text_digests([other.text for other in others]))
        own = self.store.column("digest")[self.rows]
        return np.searchsorted(known, own) < np.searchsorted(known, own, side="right")

    def selected(self, chosen: np.ndarray) -> "StoredRecords":
        """The rows where the mask `chosen` (n,) is true, or the rows at its ascending places (m,)."""
        return replace(self, rows=self.rows[chosen], codes=self.codes[chosen])

    def renamed(self, names: Mapping[str, str]) -> "StoredRecords":
        """The same rows, with other names for some topics."""
        return replace(self, names=tuple(names.get(name, name) for name in self.names))

    def under(self, topics: Topics, indices: np.ndarray) -> "StoredRecords":
        """The same rows, each with the topic of the given index (n,)."""
        return replace(self, codes=indices.astype(np.int32), names=topics.names)


def topic_indices(records: Sequence[Record], topics: Topics) -> np.ndarray:
    """The class index (n,), int64, of each record's topic; -1 where it is not among the topics."""
    stored = isinstance(records, StoredRecords)
    names = records.names if stored else [str(record.topic) for record in records]
    indices = np.asarray([topics.index(name) if name in topics else -1 for name in names], dtype=np.int64)
    return indices[records.codes] if stored else indices


def unlike(records: Sequence[Record], others: Sequence[Record]) -> Sequence[Record]:
    """The records whose text, white space aside, is not in `others`; stored ones stay on disk."""
    if isinstance(records, StoredRecords):
        return records.selected(~records.overlapping(others))
    repeated = {id(record) for record in overlapping(records, others)}  # the records' own ids may not be unique
    return [record for record in records if id(record) not in repeated]


def record_weights(records: Sequence[Record]) -> np.ndarray:
    """The weight of each record (n,), float64; records on disk have 1."""
    if isinstance(records, StoredRecords):
        return np.ones(len(records))
    return np.asarray([record.weight for record in records], dtype=np.float64)


def subsample(records: Sequence[Record], seed: int, most: int = 1_000_000, purpose: str = "some") -> Iterator[Record]:
    """A uniform sample of at most so many records, in their order; the same for the same seed and purpose."""
    if len(records) <= most:
        yield from records
        return
    chosen = sorted(Random(f"{purpose}/{seed}").sample(range(len(records)), most))
    if isinstance(records, StoredRecords):
        yield from records.selected(np.array(chosen))
    else:
        yield from (records[i] for i in chosen)
