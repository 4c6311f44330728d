"""Reads the sets of records for a fit, checks them against each other and splits them. Knows records, no model."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ..common import UserError
from ..corpus import (
    BadRow,
    Columns,
    Record,
    RowStore,
    Source,
    StoredRecords,
    Topics,
    check_disjoint,
    check_known_topics,
    check_training,
    check_usable,
    load_usable,
    overlapping,
    place_of,
    spelling_key,
    spellings,
    stratified_split,
    stream,
    topic_indices,
    unlike,
)
from .settings import DataSettings

log = logging.getLogger("unskew")

MOST_SHOWN = 3  # pairs of spellings in a line
Spellings = Mapping[str, Sequence[str]]  # spellings of topics, see `spellings`


@dataclass(frozen=True)
class TrainingData:
    """Records to fit on.

    Attributes:
        train: Clean set without the held-out rows, then the synthetic rows, if there are any.
        validation: Held-out clean rows.
        noisy: Noisy set; None without one.
        topics: Topics with their counts in all clean rows, including held-out ones. Synthetic rows say nothing about
            the frequency of topics, so the training prior leaves them out. The prior that a loss teaches counts all
            training rows.
        is_split: Whether `validation` was split off the clean set, so that a recipe that needs none may train on it.
        unusable: Rows of the clean set without a text or topic.
        unknown_topics: Number of noisy rows by topic that the clean set lacks; they are left out.
    """

    train: list[Record]
    validation: list[Record]
    noisy: Sequence[Record] | None
    topics: Topics
    is_split: bool = False
    unusable: tuple[BadRow, ...] = ()
    unknown_topics: Mapping[str, int] = field(default_factory=dict)

    @property
    def clean(self) -> list[Record]:
        """Every clean row, in the order for a recipe that holds rows out by itself."""
        return [*self.train, *self.validation] if self.is_split else self.train

    def __str__(self) -> str:
        rows = f"{len(self.train)} rows to train on, {len(self.validation)} held out"
        return f"{len(self.topics)} topics; {rows}" + (f", {len(self.noisy)} noisy ones" if self.noisy else "")


def read_sets(settings: DataSettings, seed: int, targets: bool = False, cache: Path | None = None) -> TrainingData:
    """Read the sets, and keep validation texts out of the training sets.

    Args:
        settings: Settings that name the sets.
        seed: Random seed of the split.
        targets: Whether targets are required, to train a decoder.
        cache: Folder for the noisy rows, which keeps them out of memory; None keeps them in memory.

    Raises:
        UserError: If a file or a row cannot be used, or a text is in two sets that must be separate.
    """
    columns = replace(settings.columns, paraphrase_of=None)  # only for synthetic rows
    clean, unusable = load_labelled(settings.train, columns)
    if settings.corrections is not None:
        clean = _corrected(clean, settings.corrections, settings.train)
    same = spellings(str(record.topic) for record in clean) if settings.merge_spellings else {}
    given, clean = clean, _respelt(clean, same)
    _say_merged(settings.train, given, clean)
    if targets and not any(record.target for record in clean):
        raise UserError(
            f"{settings.train}: no row has a target to write in the column {settings.columns.target!r}; name "
            "its column with --data.columns.target, or give --decoder null to fit the topics alone"
        )
    for warning in check_training(clean, settings.train):
        log.warning(warning)
    if settings.validation is None:
        train, validation = _split(clean, settings.validation_share, seed)
    else:
        train, validation = clean, _respelt(load_labelled(settings.validation, columns)[0], same)
        check_disjoint(train, validation, settings.train, settings.validation)
    split_off = validation if settings.validation is None else []
    topics = Topics.from_labels(str(record.topic) for record in [*train, *split_off])
    check_known_topics(validation, topics, settings.validation or settings.train)
    noisy, unknown = None, {}
    if settings.noisy is not None:
        known = _noisy_in_memory if cache is None else partial(_noisy_on_disk, cache)
        noisy, unknown = known(settings.noisy, columns, topics, validation, same)
    if settings.synthetic is not None:
        train = train + _synthetic(settings, topics, train, validation, same)
    return TrainingData(train, validation, noisy, topics, settings.validation is None, tuple(unusable), unknown)


def load_labelled(source: Source, columns: Columns) -> tuple[list[Record], list[BadRow]]:
    """Records with a topic, and the unusable rows, which are logged.

    Raises:
        UserError: If the source cannot be read, or too many rows are unusable.
    """
    records, bad = load_usable(source, columns, needs=("text", "topic"))
    if bad:
        first = f"{place_of(bad[0])}: {bad[0].reason}"
        check_usable(len(bad), len(records), first)
        log.warning("%d of %d rows are left out, the first: %s", len(bad), len(bad) + len(records), first)
    return records, bad


def _corrected(clean: list[Record], corrections: str, train: str) -> list[Record]:
    """The clean rows with topics corrected by a person, without rows whose corrected topic is null."""
    rows, bad = load_usable(corrections, Columns())
    if bad:
        raise UserError(f"{place_of(bad[0])}: {bad[0].reason}; corrections need `id`, `text` and `topic`")
    texts = {record.id: record.text for record in clean}
    for row in rows:
        if texts.get(row.id) != row.text:
            wrong = "has another text there" if row.id in texts else "is not among its rows"
            raise UserError(f"{corrections}: the row {row.id!r} {wrong} ({train}); inspect that file again")
    topics = {row.id: row.topic for row in rows}
    corrected = [replace(record, topic=topics.get(record.id, record.topic)) for record in clean]
    changed = sum(new.topic != old.topic for new, old in zip(corrected, clean, strict=True))
    log.info("%s: %d of %d rows get another topic or none", corrections, changed, len(clean))
    return [record for record in corrected if record.topic is not None]


def _split(clean: Sequence[Record], share: float, seed: int) -> tuple[list[Record], list[Record]]:
    rest, held_out = stratified_split([str(record.topic) for record in clean], share, seed)
    train, validation = [clean[i] for i in rest], [clean[i] for i in held_out]
    repeated = {record.id for record in overlapping(validation, train)}
    if repeated:
        log.warning("%d held-out rows repeat a text of the training set: they are trained on instead", len(repeated))
        train += [record for record in validation if record.id in repeated]
        validation = [record for record in validation if record.id not in repeated]
    return train, validation


def _respelt(records: list[Record], same: Spellings) -> list[Record]:
    """The records, with each topic in its most frequent spelling."""
    if not same:
        return records
    names = {key: names[0] for key, names in same.items()}
    return [replace(row, topic=names.get(spelling_key(str(row.topic)), row.topic)) for row in records]


def _say_merged(source: str, given: Sequence[Record], merged: Sequence[Record]) -> None:
    pairs = Counter((old.topic, new.topic) for old, new in zip(given, merged, strict=True) if old.topic != new.topic)
    if pairs:
        shown = ", ".join(f"{old!r} as {new!r}" for old, new in list(pairs)[:MOST_SHOWN])
        more = f" and {len(pairs) - MOST_SHOWN} more" if len(pairs) > MOST_SHOWN else ""
        log.info("%s: merged spellings in %d rows: %s%s", source, pairs.total(), shown, more)


def _paraphrase_column(settings: DataSettings) -> str:
    """The column with the id of a paraphrase's original: `of` in files of version 0.1.0."""
    rows = stream(str(settings.synthetic), replace(settings.columns, paraphrase_of="of"))
    old = any(isinstance(row, Record) and row.paraphrase_of is not None for row in rows)
    return "of" if old else "paraphrase_of"


def _synthetic(
    settings: DataSettings,
    topics: Topics,
    train: Sequence[Record],
    validation: Sequence[Record],
    same: Spellings,
) -> list[Record]:
    columns = replace(settings.columns, paraphrase_of=settings.columns.paraphrase_of or _paraphrase_column(settings))
    rows = _respelt(load_labelled(str(settings.synthetic), columns)[0], same)
    check_known_topics(rows, topics, str(settings.synthetic))
    leaks = {id(record) for record in overlapping(rows, validation)}
    held_out = {record.id for record in validation} - {record.id for record in train}
    leaks |= {id(record) for record in rows if record.paraphrase_of in held_out}
    if leaks:
        log.warning(
            "%s: left out %d rows that are in, or paraphrase, the validation set", settings.synthetic, len(leaks)
        )
    return [replace(record, synthetic=True) for record in rows if id(record) not in leaks]


def _noisy_in_memory(
    source: str, columns: Columns, topics: Topics, validation: Sequence[Record], same: Spellings
) -> tuple[Sequence[Record], Mapping[str, int]]:
    rows = _respelt(load_labelled(source, columns)[0], same)
    known = [record for record in rows if record.topic in topics]
    kept = unlike(known, validation)
    _say_left_out(source, len(rows) - len(known), len(known) - len(kept))
    return kept, Counter(str(record.topic) for record in rows if record.topic not in topics)


def _noisy_on_disk(
    cache: Path, source: str, columns: Columns, topics: Topics, validation: Sequence[Record], same: Spellings
) -> tuple[Sequence[Record], Mapping[str, int]]:
    store = RowStore.of(source, columns, cache)
    if store.bad:
        rows = store.bad + store.rows
        log.warning("%d of %d rows are left out, the first: %s", store.bad, rows, store.first_bad)
    names = {key: names[0] for key, names in same.items()}
    rows = StoredRecords.all_of(store)
    rows = rows.renamed({name: names.get(spelling_key(name), name) for name in rows.names})
    is_known = topic_indices(rows, topics) >= 0
    known = rows.selected(is_known)
    kept = unlike(known, validation)
    _say_left_out(source, len(rows) - len(known), len(known) - len(kept))
    return kept, rows.selected(~is_known).topic_counts


def _say_left_out(source: str, unknown: int, leaks: int) -> None:
    if unknown or leaks:
        log.warning(
            "%s: left out %d rows whose topic is not in the clean set and %d that are in the validation set",
            source,
            unknown,
            leaks,
        )
