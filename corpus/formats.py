"""The rows of one file, in its order: JSON lines, a JSON array, CSV, Parquet. Knows nothing of what columns mean.

Every row is yielded, a broken one with its reason. Only the current row is in memory (Parquet: a batch of rows), but
a JSON array is read whole. Local text files are not read with `datasets`: Arrow's readers give up a whole block at
one malformed line, guess types across rows and keep no line numbers.
"""

import codecs
import csv
import json
import sys
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from ..common import AnyPath, UserError, local_or_open
from .lines import BLOCK, Line, count_lines, not_utf8, opened, read_lines, too_long

# Most characters that an unclosed quote in a CSV may swallow.
LARGEST_FIELD = 2**24
PARQUET_BATCH = 256
_HEAD = 100
_SEPARATORS = {";": "semicolons", "\t": "tabs"}  # of files that are called CSV too

Pick = Callable[[], bool]
CsvRow = TypeVar("CsvRow", list[str], dict[str, Any])


class _Repeated(dict[str, Any]):
    """A JSON object in which a name occurs twice; the last value is kept, although it may be the wrong one."""

    names: frozenset[str] = frozenset()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    repeated = _Repeated(values)
    repeated.names = frozenset(_repeated(name for name, _ in pairs))
    return repeated


# Not strict: control characters, the null byte among them, may be unescaped in a string.
_decode_json = json.JSONDecoder(strict=False, object_pairs_hook=_object).decode


class RawRow(NamedTuple):
    """A row and its 1-based line (Parquet, array: row) number; a broken row has a `reason` and no `values`."""

    line: int
    values: dict[str, Any] | None
    reason: str = ""


def format_of(path: AnyPath) -> str:
    """The format by the file's ending: "jsonl", "json", "csv" or "parquet".

    Raises:
        UserError: For any other ending.
    """
    name = path.name.lower()
    ending = Path(name.removesuffix(".gz").removesuffix(".zst")).suffix
    if ending in (".jsonl", ".json", ".csv") or (ending == ".parquet" and name.endswith(ending)):
        return ending[1:]
    known = ".jsonl, .json, .csv (each also with .gz or .zst) or .parquet"
    raise UserError(f"cannot tell the format of {path}; name it {known}")


def count_rows(path: AnyPath, raw: IO[bytes] | None = None) -> int | None:
    """Number of rows of a file, if its format tells; blank lines of JSONL count too.

    `raw` has the file's bytes if it is open already; lines of JSONL are then counted there.
    """
    if format_of(path) == "parquet":
        import pyarrow
        import pyarrow.parquet

        try:
            return pyarrow.parquet.read_metadata(local_or_open(path)).num_rows
        except (pyarrow.ArrowException, OSError):
            return None  # the error is reported when the file is read
    return count_lines(path, raw) if format_of(path) == "jsonl" else None


def count_rows_about(path: AnyPath) -> int | None:
    """Number of rows of a file of any format; for text files the lines, which are too many if texts have line ends."""
    return count_rows(path) if format_of(path) == "parquet" else count_lines(path)


def find_value(values: Mapping[str, Any], column: str) -> Any:
    """The value of a row in a column; if there is no column `a.b`, the field `b` of the column `a`.

    Raises:
        KeyError: If there is no such column.
    """
    if column in values:
        return values[column]
    head, dot, rest = column.partition(".")
    inner = values.get(head)
    if not dot or not isinstance(inner, Mapping):
        raise KeyError(column)
    return find_value(inner, rest)


def read_rows(
    path: AnyPath,
    wanted: list[str],
    required: Mapping[str, str],
    pick: Pick | None = None,
    lines: Iterable[Line] | None = None,
) -> Iterator[RawRow]:
    """Yield the rows of a file; blank lines are skipped.

    A JSON object that has a wanted name twice is a broken row. In CSV and Parquet a name twice refuses the whole file.

    Args:
        path: The file.
        wanted: The columns that will be read.
        required: The columns that must be there, each with the setting that names it.
        pick: A function that is called before each row is read, and says whether it is yielded. JSON is then not
            checked for the required columns, which reads ahead.
        lines: Lines of a .jsonl or .csv, if they are being read already.

    Raises:
        UserError: If the file cannot be read to its end, lacks a `required` column, or has a wanted column twice.
    """
    match format_of(path):
        case "parquet":
            return _parquet_rows(path, wanted, required, pick)
        case "csv":
            return _picked(_csv_rows(path, wanted, required, lines or read_lines(path)), pick)
        case "json":
            rows = _picked(_json_rows(path, wanted), pick)
        case _:
            rows = _jsonl_rows(lines or read_lines(path), wanted, pick)
    return rows if pick else with_columns(str(path), rows, required)


def _picked(rows: Iterator[Any], pick: Pick | None) -> Iterator[Any]:
    return rows if pick is None else (row for row in rows if pick())


def with_columns(where: str, rows: Iterable[RawRow], required: Mapping[str, str]) -> Iterator[RawRow]:
    """Yield the rows, after checking the first hundred for the required columns.

    Raises:
        UserError: If none of these has a required column; lists the columns found.
    """
    rows = iter(rows)
    head = list(islice(rows, _HEAD))
    readable = [row.values for row in head if row.values is not None]
    if readable:
        found = list(dict.fromkeys(chain.from_iterable(readable)))
        looked = f" in its first {_HEAD} rows" if len(head) == _HEAD else ""
        _require(where, required, found, lambda column: any(_has(values, column) for values in readable), looked)
    yield from chain(head, rows)


def _has(values: Mapping[str, Any], column: str) -> bool:
    try:
        find_value(values, column)
    except KeyError:
        return False
    return True


def _require(
    where: str, required: Mapping[str, str], found: list[str], known: Callable[[str], bool], looked: str = ""
) -> None:
    for column, setting in required.items():
        if not known(column):
            listed = ", ".join(map(repr, found))
            separator = next((mark for mark in _SEPARATORS if len(found) == 1 and mark in found[0]), None)
            remedy = (
                f"they seem to be separated by {_SEPARATORS[separator]}; separate them by commas"
                if separator
                else f"name the right one with {setting}"
            )
            raise UserError(f"{where} has no column {column!r}{looked}; its columns are {listed}; {remedy}")


def _refuse_repeated(where: str, wanted: list[str], found: list[str]) -> None:
    for column in _repeated(found):
        if column in wanted:
            times = found.count(column)
            raise UserError(f"{where} has {times} columns {column!r}; rename or remove all but one")


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]


def _jsonl_rows(lines: Iterable[Line], wanted: list[str], pick: Pick | None = None) -> Iterator[RawRow]:
    filled = ((number, line) for number, line in lines if line is None or line.strip())
    for number, line in _picked(filled, pick):
        if line is None:
            yield RawRow(number, None, too_long())
            continue
        try:
            yield _object_row(number, _decode_json(line.decode()), wanted)
        except UnicodeDecodeError as error:
            yield RawRow(number, None, not_utf8(error))
        except json.JSONDecodeError as error:
            yield RawRow(number, None, f"not a JSON object on one line: {error.msg} at column {error.colno}")
        except (ValueError, RecursionError) as error:
            yield RawRow(number, None, f"not usable JSON: {error}")


def _object_row(number: int, value: Any, wanted: list[str]) -> RawRow:
    if not isinstance(value, dict):
        return RawRow(number, None, "not a JSON object with named columns")
    for name in value.names if isinstance(value, _Repeated) else ():
        if name in wanted:
            return RawRow(number, None, f"the name {name!r} occurs twice in the JSON object")
    return RawRow(number, value)


def _json_rows(path: AnyPath, wanted: list[str]) -> Iterator[RawRow]:
    """Rows of a .json file: JSON lines, or one array of objects (as pandas writes)."""
    if not _is_array(path):
        yield from _jsonl_rows(read_lines(path), wanted)
        return
    try:
        rows = _decode_json(b"".join(line or b"" for _, line in read_lines(path, sys.maxsize - 1)).decode())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is a broken JSON array: {error}; fix it, or write one object per line") from error
    for number, value in enumerate(rows, start=1):
        yield _object_row(number, value, wanted)


def _is_array(path: AnyPath) -> bool:
    """Whether the first character that is not blank opens a JSON array."""
    with suppress(OSError, EOFError, zlib.error), opened(path) as file:  # the error is reported when reading goes on
        while block := file.read(BLOCK):
            if start := block.removeprefix(codecs.BOM_UTF8).lstrip():
                return start.startswith(b"[")
    return False


class _CsvLines:
    """Lines for `csv.reader`. It knows which lines the current row took, and can give them out again."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._given_back: deque[Line] = deque()
        self.taken: list[Line] = []
        self.problem = ""

    def __iter__(self) -> "_CsvLines":
        return self

    def __next__(self) -> str:
        number, line = self._given_back.popleft() if self._given_back else next(self._lines)
        self.taken.append((number, line))
        if line is None:
            self.problem = self.problem or too_long()
            return "\n"
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            self.problem = self.problem or not_utf8(error)
            return line.decode(errors="replace")

    def start_row(self) -> None:
        self.taken, self.problem = [], ""

    def give_back_all_but_first(self) -> None:
        self._given_back.extendleft(reversed(self.taken[1:]))


def _csv_rows(path: AnyPath, wanted: list[str], required: Mapping[str, str], lines: Iterable[Line]) -> Iterator[RawRow]:
    parsed = _csv_fields(_CsvLines(iter(lines)))
    header = next(parsed, None)
    if header is None:
        return
    _, names, reason = header
    if names is None:
        raise UserError(f"{path}, line 1: the column names cannot be read: {reason}")
    _require(str(path), required, names, names.__contains__)
    _refuse_repeated(str(path), wanted, names)
    for number, fields, reason in parsed:
        if fields is None:
            yield RawRow(number, None, reason)
        elif len(fields) != len(names):
            counts = f"{len(fields)} fields where the first line names {len(names)} columns"
            yield RawRow(number, None, f"{counts}; put quotes around a text with commas")
        else:
            yield RawRow(number, dict(zip(names, fields, strict=True)))


def next_csv_row(reader: Iterator[CsvRow], longest: int) -> CsvRow | None:
    """The next row of a reader of the `csv` module, with fields of at most `longest` characters; None at the end.

    Raises:
        csv.Error: If the row is not valid.
    """
    # The limit is the whole process's, and it decides how a file with a wrong quote is split into rows. So it is set
    # for one row at a time: two files that are read in turns must not see each other's.
    before = csv.field_size_limit(longest)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(before)


def _csv_fields(lines: _CsvLines) -> Iterator[tuple[int, list[str] | None, str]]:
    """The fields of each row and the line it starts on; a wrong quote costs only the first line of its row."""
    reader = csv.reader(lines, strict=True)
    while True:
        lines.start_row()
        try:
            fields = next_csv_row(reader, LARGEST_FIELD)
        except csv.Error as error:
            lines.give_back_all_but_first()
            yield lines.taken[0][0], None, f"not valid CSV: {_reason(error)}"
            continue
        if fields is None:
            return
        if lines.problem:
            yield lines.taken[0][0], None, lines.problem
        elif fields:
            yield lines.taken[0][0], fields, ""


def _reason(error: csv.Error) -> str:
    if "new-line character" in str(error):  # Python's advice is on how to open the file
        return "a carriage return (CR) outside quotes; end lines with a line feed (LF), as in tr '\\r' '\\n' <OLD >NEW"
    return str(error)


def _parquet_rows(path: AnyPath, wanted: list[str], required: Mapping[str, str], pick: Pick | None) -> Iterator[RawRow]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        # With a buffer size, a row group is read in pieces.
        with pyarrow.parquet.ParquetFile(local_or_open(path), buffer_size=2**20, pre_buffer=False) as file:
            found = file.schema_arrow.names
            known = {*found, *_nested(file.schema)}
            _require(str(path), required, found, known.__contains__)
            _refuse_repeated(str(path), wanted, found)
            columns = [column for column in wanted if column in known]
            names = _class_names(file.schema_arrow.metadata or {}, [name for name in columns if name in found])
            for batch in file.iter_batches(batch_size=PARQUET_BATCH, columns=columns):
                for index in range(batch.num_rows):
                    number += 1
                    if pick is None or pick():
                        yield _parquet_row(number, batch, index, batch.schema.names, names)
    except UserError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:  # ValueError: column names that are not UTF-8
        remedy = "check its permissions, or write it again"
        raise UserError(f"cannot read {path} beyond row {number}: {error}; {remedy}") from error


def _nested(schema: Any) -> Iterator[str]:
    """The dotted names of all fields of a Parquet schema."""
    for index in range(len(schema)):
        parts = schema.column(index).path.split(".")
        yield from (".".join(parts[:depth]) for depth in range(1, len(parts) + 1))


def _parquet_row(number: int, batch: Any, index: int, columns: list[str], names: Mapping[str, list[str]]) -> RawRow:
    try:
        values = {column: batch.column(column)[index].as_py() for column in columns}
        return RawRow(number, values | {column: class_name(values[column], known) for column, known in names.items()})
    except UnicodeDecodeError as error:
        return RawRow(number, None, not_utf8(error))
    except (ValueError, OverflowError) as error:  # a date beyond what Python can hold, a class without a name
        return RawRow(number, None, f"not usable: {error}")


def _class_names(metadata: Mapping[bytes, bytes], columns: list[str]) -> dict[str, list[str]]:
    """The class names that `datasets` keeps in a Parquet file's metadata, for the columns that have them."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        named = {column: features[column].get("names") for column in columns if column in features}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return {column: names for column, names in named.items() if isinstance(names, list)}


def class_name(number: Any, names: list[str]) -> Any:
    """The name of a class by its number; None for a missing class, which `datasets` writes as None or -1.

    A value that is not a number is returned unchanged.

    Raises:
        ValueError: If there is no such class.
    """
    if not isinstance(number, int) or number == -1:
        return None if number == -1 else number
    if not 0 <= number < len(names):
        raise ValueError(f"class number {number} of {len(names)} named classes")
    return names[number]
