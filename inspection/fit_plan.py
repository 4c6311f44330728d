"""Describes a fit without running it: its rows, tokens, disk, memory and time. Writes no file.

Knows the sets and the estimates. It reads the first rows of the noisy set, and counts the others.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from ..common import check_disk, output_folder, printable
from ..corpus import BadRow, Columns, HubDataset, Record, count_rows_about, place_of, source_parts, stream
from ..decoder import check_base
from ..pipeline import FitSettings, TrainingData, check_fit, read_sets
from .costs import estimate_fit
from .results import Estimate
from .texts import describe_targets, read_tokens, text_lengths

LOOKED_AT = 2000  # noisy rows to read
TOKEN_BYTES = 4  # most bytes of a stored token


@dataclass(frozen=True)
class _Noisy:
    """The noisy set: its number of rows, if it can be counted, and the lengths of the first rows."""

    rows: int | None
    looked_at: int
    bad: int
    first_bad: str | None
    row_bytes: float

    def __str__(self) -> str:
        rows = "rows not counted" if self.rows is None else f"about {self.rows:,} rows"
        said = f", the first: {self.first_bad}" if self.first_bad else ""
        return f"{rows}; {self.bad:,} of the first {self.looked_at:,} rows cannot be used{said}"


def describe_fit(settings: FitSettings, output: str | Path, *, overwrite: bool = False) -> str:
    """The plan of a fit, a line for each part of it.

    Raises:
        UserError: If the fit would raise one before it trains, or the disk has too little room.
    """
    settings = settings.resolved()
    place = output_folder(output)
    check_fit(settings, place, overwrite=overwrite)
    data = replace(settings.data, noisy=None)
    sets = read_sets(data, settings.seed, targets=settings.decoder is not None)
    if settings.decoder is not None:
        check_base(settings.decoder, sets.topics, place)
    noisy = None if settings.data.noisy is None else _look_at(settings.data.noisy, settings.data.columns)
    return printable("\n".join(_lines(settings, place, sets, noisy)))


def _look_at(source: str, columns: Columns) -> _Noisy:
    head = list(islice(stream(source, replace(columns, paraphrase_of=None), needs=("text", "topic")), LOOKED_AT))
    bad = [row for row in head if isinstance(row, BadRow)]
    sizes = [len(f"{row.id}{row.text}{row.target or ''}".encode()) for row in head if isinstance(row, Record)]
    counts = [None if isinstance(part, HubDataset) else count_rows_about(part) for part in source_parts(source)]
    known = [count for count in counts if count is not None]
    first = f"{place_of(bad[0])}: {bad[0].reason}" if bad else None
    rows = sum(known) if len(known) == len(counts) else None
    return _Noisy(rows, len(head), len(bad), first, sum(sizes) / max(1, len(sizes)))


def _lines(settings: FitSettings, place: Path, sets: TrainingData, noisy: _Noisy | None) -> Iterator[str]:
    lengths = text_lengths([record.text for record in sets.clean], settings.encoder)
    targets = describe_targets(sets.clean, settings.decoder)
    read, written = read_tokens(lengths), targets.lengths.median if targets.lengths is not None else 0
    rows = (noisy.rows or 0) if noisy is not None else 0
    estimates = estimate_fit(settings.encoder, settings.decoder, len(sets.clean), rows, read, written)
    counts = sets.topics.counts
    yield f"clean:    {len(sets.clean):,} rows, {len(counts)} topics of {min(counts):,} to {max(counts):,} rows"
    if noisy is not None:
        yield f"noisy:    {noisy}"
    tokens = read * (len(sets.clean) + rows)
    yield f"texts:    about {read:.0f} tokens each, {tokens:,.0f} in all; at most {lengths.limit:,} of a text are read"
    bases = {"encoder": settings.encoder.base, "decoder": settings.decoder.base if settings.decoder else None}
    for estimate in estimates:
        yield f"{estimate.stage}:  {bases[estimate.stage] or 'from scratch'}; {_said(estimate)}"
    stored = rows * ((noisy.row_bytes if noisy is not None else 0) + TOKEN_BYTES * (read * len(estimates) + written))
    states = sum(estimate.checkpoints for estimate in estimates)
    free = check_disk(place, int(stored + states * 1e9))
    yield (
        f"disk:     at most {stored / 1e9:.1f} GB for noisy rows and tokens, {states:.1f} GB for checkpoints; "
        f"{free / 1e9:.1f} GB free"
    )
    yield f"output:   {place}"


def _said(estimate: Estimate) -> str:
    minutes = max(1, round(estimate.seconds / 60))
    time = f"{minutes / 60:,.1f} hours" if minutes > 90 else f"{minutes} minute{'s' * (minutes > 1)}"
    return f"about {time} on this machine, {estimate.gigabytes:.1f} GB of memory (within a factor of two or three)"
