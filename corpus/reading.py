"""Records from files, globs, lists of them and datasets on the hub, one at a time or all at once.

Decides what a column means and which rows are unusable; does not know how rows are stored (`formats` and `hub` do).
Memory does not grow with the number of rows, except in `load` and `load_usable`, which return them.
"""

import glob
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ..common import AnyPath, RemotePath, UserError, any_path, is_url
from .formats import Pick, RawRow, find_value, format_of, read_rows, with_columns
from .hub import HUB_FILES, PREFIX, HubDataset
from .lines import Line
from .records import BadRow, Record
from .spread_sample import SpreadSample

log = logging.getLogger("unskew")

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
LocatedRow = tuple[Record | BadRow, str, int]


@dataclass(frozen=True)
class Columns:
    """The names of the columns; a column named None is not read.

    Attributes:
        text: The text to classify.
        id: The row's id; without it rows are numbered from 1.
        topic: The topic.
        target: The text to write.
        paraphrase_of: Id of the row that a synthetic row paraphrases; `paraphrase_of` unless named, and read from
            synthetic rows only.
    """

    text: str = "text"
    id: str | None = "id"
    topic: str | None = "topic"
    target: str | None = "target"
    paraphrase_of: str | None = None

    def wanted(self) -> list[str]:
        """The columns to read."""
        return [name for name in (self.text, self.id, self.topic, self.target, self.paraphrase_of) if name is not None]

    def required(self, needs: Sequence[str]) -> dict[str, str]:
        """The columns a file must have: the text, what is needed, and every column the user named.

        Each comes with the setting that names it, such as columns.text.
        """
        asked = {field.name for field in fields(self) if getattr(self, field.name) != field.default}
        chosen = [name for name in ("text", "id", "topic", "target") if name in {"text", *needs, *asked}]
        return {getattr(self, name): f"columns.{name}" for name in chosen if getattr(self, name) is not None}


DEFAULT_COLUMNS = Columns()
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


def stream(
    source: Source, columns: Columns = DEFAULT_COLUMNS, limit: int | None = None, needs: Sequence[str] = ("text",)
) -> Iterator[Record | BadRow]:
    """Yield every row of the source, in order, as a record or as a bad row with its reason.

    A row without an id gets its number, counted from 1 across all files, broken rows included. A blank topic or
    target counts as missing.

    Args:
        source: a file (.jsonl, .json, .csv, each also .gz or .zst; .parquet), a glob, a Hive-partitioned folder, the
            like by URL (s3://BUCKET/FILE, gs://, az://, hf://datasets/OWNER/NAME/FILE),
            `hf://OWNER/NAME[/CONFIG][:SPLIT]`, or a list of these.
        columns: the names of the columns; `a.b` is the field `b` of the column `a`. A folder `NAME=VALUE` in a file's
            path is a column of its rows, unless they have a column of that name.
        limit: the largest number of rows to yield, good and bad counted together.
        needs: what a record must have besides its text: "topic", "target" or both.

    Raises:
        UserError: At once if a file does not exist or its format is unknown; while reading if a file lacks a column
            or cannot be read to its end.
    """
    return (row for row, _, _ in stream_located(source_parts(source), columns, limit, needs))


def stream_located(
    parts: Sequence[AnyPath | HubDataset],
    columns: Columns = DEFAULT_COLUMNS,
    limit: int | None = None,
    needs: Sequence[str] = ("text",),
    keep: Sequence[str] = (),
) -> Iterator[LocatedRow]:
    """Like `stream`, with the file (or hub address) of each row and its line (Parquet: row) there.

    `parts` are those of a source, see `source_parts`. `keep` names further columns to read into `Record.kept`; a
    missing value is None.
    """
    return islice(_rows(parts, columns, needs, keep), limit)


def sample_texts(
    part: AnyPath | HubDataset, columns: Columns, sample: SpreadSample, lines: Iterable[Line] | None = None
) -> None:
    """Show a sample the rows of a part of a source; of a dataset on the hub only the first, because it has no end.

    Args:
        part: File or dataset, see `source_parts`.
        columns: Names of the columns.
        sample: Sample that takes the texts of some rows.
        lines: Lines of a .jsonl or .csv, if they are being read already.

    Raises:
        UserError: If the file cannot be read to its end, or a CSV or Parquet lacks a column.
    """
    if isinstance(part, HubDataset):
        rows = (row for row in islice(_raw_rows(part, columns, ("text",)), sample.most) if sample.wants())
    else:
        rows = _raw_rows(part, columns, ("text",), (), sample.wants, lines)
    for row in rows:
        record = _record(row, 0, str(part), columns, ("text",), ())
        sample.add(record.text if isinstance(record, Record) else None)


def load(source: Source, columns: Columns = DEFAULT_COLUMNS, needs: Sequence[str] = ("text",)) -> list[Record]:
    """All records of a source in which every row must be usable.

    Raises:
        UserError: As `stream`; for the first bad row, with its file, line and the number of further ones; if there
            are no rows.
    """
    records, bad = load_usable(source, columns, needs)
    if bad:
        further = f" ({len(bad) - 1} further rows are bad)" if len(bad) > 1 else ""
        raise UserError(f"{place_of(bad[0])}: {bad[0].reason}; fix or remove this row{further}")
    return records


def load_usable(
    source: Source, columns: Columns = DEFAULT_COLUMNS, needs: Sequence[str] = ("text",)
) -> tuple[list[Record], list[BadRow]]:
    """The usable records of a source, and separately the rows that cannot be used.

    Raises:
        UserError: As `stream`, and if there are no rows.
    """
    records: list[Record] = []
    bad: list[BadRow] = []
    for row in stream(source, columns, needs=needs):
        records.append(row) if isinstance(row, Record) else bad.append(row)
    if not records and not bad:
        raise UserError(f"{_described(source)} has no rows; give at least one")
    return records, bad


def source_parts(source: Source) -> list[AnyPath | HubDataset]:
    """The files and datasets of the hub that a source names, in the order they are read.

    What is named more than once (by patterns that overlap, in two spellings, through a link) keeps its first place.

    Raises:
        UserError: If a file does not exist or its format is unknown.
    """
    named = [part for one in _listed(source) for part in _expand(os.fspath(one))]
    once: dict[str, AnyPath | HubDataset] = {}
    again = [part for part in named if once.setdefault(_identity(part), part) is not part]
    if again:
        more = f" and {len(again) - 1} more" if len(again) > 1 else ""
        log.warning("named more than once and read once: %s%s", _identity(again[0]), more)
    return list(once.values())


def source_files(source: Source) -> list[AnyPath]:
    """The files a source names, in the order they are read; datasets of the hub are left out.

    Raises:
        UserError: If a file does not exist or its format is unknown.
    """
    return [part for part in source_parts(source) if not isinstance(part, HubDataset)]


def place_of(row: BadRow) -> str:
    """The place of a bad row, for a message."""
    where = row.file or "input"
    unit = "row" if where.endswith(".parquet") or where.startswith(PREFIX) else "line"
    return f"{where}, {unit} {row.line}"


def _described(source: Source) -> str:
    return ", ".join(os.fspath(one) for one in _listed(source)) or "an empty list of files"


def _identity(part: AnyPath | HubDataset) -> str:
    """The same for two spellings of the same file."""
    if isinstance(part, HubDataset):
        return part.address
    return str(part.resolve() if isinstance(part, Path) else part)


def _listed(source: Source) -> Sequence[str | os.PathLike[str]]:
    return [source] if isinstance(source, str | os.PathLike) else source


def _expand(one: str) -> list[AnyPath | HubDataset]:
    if one.startswith(PREFIX) and not one.startswith(HUB_FILES):
        return [HubDataset(one)]
    path = any_path(one)
    if path.is_dir():
        return list(_partitioned(path))
    files = _matching(path)
    if not files:
        where = "" if is_url(one) else f" in {Path.cwd()}"
        remedy = f"check the path (a dataset of the hub is written {PREFIX}OWNER/NAME)"
        raise UserError(f"there is no file {one}{where}; {remedy}")
    for file in files:
        format_of(file)
        if isinstance(file, Path) and file.is_symlink() and not file.exists():
            raise UserError(
                f"{file} is a link to {file.readlink()}, which does not exist; restore it or remove the link"
            )
        if not file.is_file():
            raise UserError(f"{file} is a pipe or a device, not a regular file; write its contents to a file first")
    return list(files)


def _matching(path: AnyPath) -> Sequence[AnyPath]:
    """The file itself, or the files that match the pattern."""
    if path.exists():
        return [path]
    if isinstance(path, RemotePath):
        return path.expand() if glob.has_magic(str(path)) else []
    found = (Path(name) for name in sorted(glob.glob(str(path), recursive=True)))
    return [file for file in found if not file.is_dir()]


def _partitioned(folder: AnyPath) -> Sequence[AnyPath]:
    """All files below a Hive-partitioned folder but those in whose path a name starts with a dot or an underscore.

    Raises:
        UserError: If none lies in a folder NAME=VALUE, or the format of one is unknown.
    """
    found = folder.files() if isinstance(folder, RemotePath) else filter(Path.is_file, sorted(folder.rglob("*")))
    above = len(folder.parts)
    files = [path for path in found if not any(name[0] in "._" for name in path.parts[above:])]
    if not any("=" in name for path in files for name in path.parts[above:-1]):
        raise UserError(f"{folder} is a folder; name its files, as in {folder / '*.jsonl'}")
    for file in files:
        format_of(file)
    return files


def _partition_values(path: AnyPath, wanted: Sequence[str]) -> dict[str, str | None]:
    """The values that the folders in a file's path give for wanted columns."""
    pairs = (name.partition("=")[::2] for name in path.parts[:-1] if "=" in name)
    return {name: None if value == _HIVE_NULL else unquote(value) for name, value in pairs if name in wanted}


def _rows(
    parts: Sequence[AnyPath | HubDataset], columns: Columns, needs: Sequence[str], keep: Sequence[str]
) -> Iterator[LocatedRow]:
    number = 0
    for part in parts:
        where = part.address if isinstance(part, HubDataset) else str(part)
        for row in _raw_rows(part, columns, needs, keep):
            number += 1
            yield _record(row, number, where, columns, needs, keep), where, row.line


def _raw_rows(
    part: AnyPath | HubDataset,
    columns: Columns,
    needs: Sequence[str],
    keep: Sequence[str] = (),
    pick: Pick | None = None,
    lines: Iterable[Line] | None = None,
) -> Iterator[RawRow]:
    wanted = list(dict.fromkeys([*columns.wanted(), *keep]))
    required = columns.required(needs)
    required |= {column: "keep" for column in keep if column not in required}
    if isinstance(part, HubDataset):
        return with_columns(part.address, part.rows(wanted, required), required)
    folders = _partition_values(part, wanted)
    in_file = {column: setting for column, setting in required.items() if column not in folders}
    rows = read_rows(part, wanted, in_file, pick, lines)
    if not folders:
        return rows
    return (row._replace(values=row.values and folders | row.values) for row in rows)


def _record(
    row: RawRow, number: int, where: str, columns: Columns, needs: Sequence[str], keep: Sequence[str]
) -> Record | BadRow:
    if row.values is None:
        return BadRow(row.line, row.reason, None, where)
    row_id = None
    try:
        row_id = as_label(row.values, columns.id) or str(number)
        text = _text(row.values, columns.text)
        labels = (as_label(row.values, column) for column in (columns.topic, columns.target, columns.paraphrase_of))
        kept = {column: _plain(_value(row.values, column), column) for column in keep} if keep else None
        record = Record(text, row_id, *labels, kept=kept)
        for need in needs:
            if getattr(record, need) is None:
                raise ValueError(f"no {need} in the column {getattr(columns, need)!r}")
    except ValueError as problem:
        return BadRow(row.line, str(problem), row_id, where)
    return record


def _text(values: Mapping[str, Any], column: str) -> str:
    try:
        text = find_value(values, column)
    except KeyError as error:
        raise ValueError(f"no column {column!r} among {', '.join(map(repr, values))}") from error
    if not isinstance(text, str):
        raise ValueError(f"the text in the column {column!r} is {_kind(text)}, not a string")
    if not text or text.isspace():
        raise ValueError(f"the text in the column {column!r} is empty")
    return _unicode(text, column)


def as_label(values: Mapping[str, Any], column: str | None) -> str | None:
    """An id, topic or target: a string, or a whole number as a string; None where it is missing or blank."""
    value = _value(values, column) if column is not None else None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    # pandas stores a column of whole numbers with gaps as floats.
    if isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0:
        return str(int(value))
    if not isinstance(value, str):
        raise ValueError(f"the column {column!r} has {_kind(value)}, not a string")
    return None if not value or value.isspace() else _unicode(value, column)


def _value(values: Mapping[str, Any], column: str) -> Any:
    try:
        return find_value(values, column)
    except KeyError:
        return None


def _plain(value: Any, column: str) -> Any:
    """A value of any column as JSON can store it: dates and similar values as text, NaN and infinity as None."""
    if isinstance(value, str):
        return _unicode(value, column)
    if isinstance(value, Mapping):
        return {_unicode(str(key), column): _plain(inner, column) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, column) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, int) else str(value)


def _unicode(text: str, column: str | None) -> str:
    # JSON can contain half of a surrogate pair, which no tokenizer accepts and no UTF-8 file can store.
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"the column {column!r} has half a surrogate pair (character {error.start + 1})"
            ) from error
    return text


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "missing" if value is None else kinds.get(type(value), f"a value of type {type(value).__name__}")
