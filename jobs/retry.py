"""Runs rows with errors again and merges them with the others. Knows no model.

A finished job first becomes an unfinished job with all shards done; after a kill at any moment it is finished again
unchanged. Then only the failed rows of each shard are predicted, and the whole shard is stored again.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from ..common import UserError
from .encoding import Layout, Row, encode, encode_lines, rows_of
from .folder import store, write_manifest
from .paths import JobPaths
from .predict_shard import Shard, ShardResult, topics_of
from .standing import Standing, owning

_CHANGED = "{} was changed after the job had written it; run the job again with --overwrite instead"

_OTHER_ROWS = (
    "the rows of {} are not those that the input has now; run the command without --retry_errors to keep the earlier "
    "results, or give --restart to start again"
)


def reopen(place: JobPaths, manifest: dict[str, Any], layout: Layout, before: Standing | None) -> dict[str, Any]:
    """Make a finished job unfinished, with shard files and records. Returns the manifest that was written.

    Raises:
        UserError: If the results or the errors were changed, or something else than `before` is in their place.
    """
    opened = {**owning(place, manifest, before), "finished": None, "shards": []}
    with ExitStack() as stack:
        bad = rows_of(stack.enter_context(place.errors.open("rb")), Layout("jsonl"))
        joined = None if place.is_folder else rows_of(stack.enter_context(place.output.open("rb")), layout)
        for shard in manifest["shards"]:
            index = shard["index"]
            rows = _rows(place, index, layout) if joined is None else list(islice(joined, shard["rows"]))
            errors = list(islice(bad, shard["errors"]))
            if (len(rows), len(errors)) != (shard["rows"], shard["errors"]):
                raise UserError(_CHANGED.format(place.output))
            store(place, _as_answered(index, rows, errors, shard["first_bad"], layout), manifest["plan"])
        if next(bad, None) is not None:
            raise UserError(_CHANGED.format(place.errors))
    write_manifest(place, opened)
    return opened


@dataclass(frozen=True)
class Retry:
    """A shard of which only the rows with errors are predicted.

    Attributes:
        shard: Rows that could not be processed.
        places: File and line of every row of the whole shard, in order.
    """

    shard: Shard
    places: list[tuple[str, int]]


def with_errors(place: JobPaths, records: Mapping[int, Mapping[str, Any]], shards: Iterable[Shard]) -> Iterator[Retry]:
    """The shards of the input that have errors.

    Raises:
        UserError: If the input is split into other rows than those that failed and those that have a result.
    """
    for shard in shards:
        record = records.get(shard.index, {"rows": 0, "errors": 0})
        if len(shard.rows) != record["rows"] + record["errors"]:
            raise UserError(_OTHER_ROWS.format(place.part(shard.index)))
        if not record["errors"]:
            continue
        failed = bad_places(place.bad(shard.index).read_bytes())
        rows = [row for row in shard.rows if row[1:] in failed]
        if len(rows) != record["errors"]:
            raise UserError(_OTHER_ROWS.format(place.bad(shard.index)))
        yield Retry(Shard(shard.index, rows), [row[1:] for row in shard.rows])


def merged(place: JobPaths, retry: Retry, result: ShardResult, layout: Layout) -> ShardResult:
    """The whole shard: its earlier rows and, in their places, those that now have a result.

    Raises:
        UserError: If these rows do not fill their places exactly.
    """
    failed_before = {row[1:] for row in retry.shard.rows}
    failed_still = bad_places(result.bad)
    old, new = _rows(place, result.index, layout), list(rows_of(io.BytesIO(result.content), layout))
    from_new = [row in failed_before for row in retry.places if row not in failed_still]
    if (len(old), len(new)) != (from_new.count(False), from_new.count(True)):
        raise UserError(_OTHER_ROWS.format(place.part(result.index)))
    left = {False: iter(old), True: iter(new)}
    rows = [next(left[is_new]) for is_new in from_new]
    whole = _as_answered(result.index, rows, [], result.first_bad, layout)
    return replace(whole, errors=result.errors, bad=result.bad, cost=result.cost)


def bad_places(lines: bytes) -> set[tuple[str, int]]:
    """File and line of the rows in an error file."""
    return {(row["file"], row["line"]) for row in map(json.loads, lines.splitlines())}


def _rows(place: JobPaths, index: int, layout: Layout) -> list[Row]:
    with place.part(index).open("rb") as file:
        return list(rows_of(file, layout))


def _as_answered(index: int, rows: list[Row], errors: list[Row], first_bad: str | None, layout: Layout) -> ShardResult:
    topics, undecided = topics_of(rows)
    return ShardResult(
        index, len(rows), len(errors), first_bad, encode(rows, layout), encode_lines(errors), topics, undecided
    )
