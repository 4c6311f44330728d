"""The physical lines of a text file, compressed or not. Knows nothing of rows."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from typing import IO

from ..common import AnyPath, UserError

LONGEST_LINE = 2**25  # bytes: a file without line ends would fill the memory
BLOCK = 2**20  # bytes read at a time when a line is skipped

Line = tuple[int, bytes | None]


def read_lines(path: AnyPath, longest: int | None = None, raw: IO[bytes] | None = None) -> Iterator[Line]:
    """The lines, numbered from 1, without a byte-order mark; None for a line of over `longest` bytes.

    `raw` has the file's bytes if it is open already.

    Raises:
        UserError: If the file cannot be read to its end, or is UTF-16.
    """
    number, longest = 0, longest or LONGEST_LINE
    try:
        with opened(path, raw) as file:
            for number, line in enumerate(iter(lambda: _next_line(file, longest), b""), start=1):
                if number > 1 or line is None:
                    yield number, line
                elif line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    remedy = f"convert it: iconv -f UTF-16 -t UTF-8 {path.name}"
                    raise UserError(f"{path} is UTF-16, not UTF-8; {remedy}")
                else:
                    yield number, line.removeprefix(codecs.BOM_UTF8)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        remedy = "check its permissions, or fetch it again"
        raise UserError(f"cannot read {path} beyond line {number}: {reason}; {remedy}") from error


def opened(path: AnyPath, raw: IO[bytes] | None = None) -> IO[bytes]:
    """The file's bytes (those of `raw` if it is open already), decompressed where its name says so."""
    name = path.name.lower()
    file = path.open("rb") if raw is None else raw
    if name.endswith(".zst"):
        import pyarrow

        return io.BufferedReader(pyarrow.input_stream(file, compression="zstd"))  # pyright: ignore
    return gzip.open(file) if name.endswith(".gz") else file  # pyright: ignore[reportReturnType]


def _next_line(file: IO[bytes], longest: int) -> bytes | None:
    line = file.readline(longest + 1)
    if len(line) <= longest:
        return line
    while line and not line.endswith(b"\n"):
        line = file.readline(BLOCK)
    return None


def too_long() -> str:
    """The reason why a line that is too long is not a row."""
    return f"the line has over {LONGEST_LINE:,} bytes; put line ends between the rows, or cut the text"


def not_utf8(error: UnicodeDecodeError) -> str:
    """The reason why a line or a value is not text."""
    byte = error.object[error.start]
    return f"not UTF-8 (byte 0x{byte:02x} at position {error.start + 1} of the line); convert the file to UTF-8"


def count_lines(path: AnyPath, raw: IO[bytes] | None = None) -> int | None:
    """The number of lines of a text file, compressed or not; None if it cannot be read to its end.

    `raw` has the file's bytes if it is open already.
    """
    lines, last = 0, b"\n"
    try:
        with opened(path, raw) as file:
            while block := file.read(BLOCK):
                lines += block.count(b"\n")
                last = block[-1:]
    except (OSError, EOFError, zlib.error):
        return None
    return lines + (last != b"\n")
