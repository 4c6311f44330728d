"""Files in object storage by URL, through fsspec: s3://, gs://, az://, hf:// and memory://. Knows nothing of contents.

The store itself writes an object whole or not at all. The clients handle credentials; here they are only kept out of
messages. Messages are worded here, because the clients' own may quote a request.
"""

import fnmatch
import hashlib
import io
import os
import re
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, TypeVar

from .atomic import replacing_file
from .errors import UserError
from .fingerprint import file_sha256
from .paths import usable_path
from .storage_errors import MASKED, explained, holds_query, refusal

INSTALLS = {
    "s3": 'pip install "unskew[s3]"',
    "gs": "pip install gcsfs",
    "az": "pip install adlfs",
    "hf": "pip install huggingface-hub",
    "memory": "pip install fsspec",
}
ANSWERED_WITHIN = 60.0  # seconds; the clients retry meanwhile
BLOCK = 2**23  # bytes of a range request
BLOCKS = 8  # blocks of an object in memory at a time

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_MODIFIED = ("LastModified", "last_modified", "mtime", "updated", "created")
Value = TypeVar("Value")


class RemoteStat(NamedTuple):
    """The result of `stat`; a replaced object has a new number, as a replaced file has a new inode."""

    st_ino: int
    st_size: int
    st_mtime: float
    st_dev: int = 0
    st_mtime_ns: int = 0
    st_ctime_ns: int = 0


@dataclass(frozen=True, order=True)
class RemotePath:
    """An object or a folder of objects, with the methods of `pathlib.Path` that a job needs.

    Methods raise FileNotFoundError as there, and UserError if the store cannot be reached or refuses.
    """

    url: str

    @classmethod
    def parse(cls, url: str) -> "RemotePath":
        """The path that a user's URL names.

        Raises:
            UserError: If the kind of store is unknown, or the URL contains credentials.
        """
        scheme, rest = _URL.split(url, maxsplit=1)[1:]
        if scheme not in INSTALLS:
            known = ", ".join(f"{name}://" for name in INSTALLS if name != "memory")
            raise UserError(f"{scheme}:// cannot be read or written here; give {known} or a file")
        if "@" in rest.partition("/")[0] or holds_query(rest):
            where = f"{scheme}://{MASKED}"
            raise UserError(
                f"the URL {where} contains credentials; remove them, and configure them as for the store's own tools"
            )
        path = rest.strip("/")
        if not path or "\0" in path:
            raise UserError(f"{scheme}:// has no bucket and name; give {scheme}://BUCKET/NAME")
        return cls(f"{scheme}://{path}")

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(f"{self.url}/{name}")

    @property
    def scheme(self) -> str:
        """The scheme, such as s3."""
        return self.url.partition("://")[0]

    @property
    def parts(self) -> tuple[str, ...]:
        """The bucket and the names below it."""
        return tuple(self.url.partition("://")[2].split("/"))

    @property
    def name(self) -> str:
        """The last name."""
        return self.parts[-1]

    @property
    def stem(self) -> str:
        """The last name without its ending."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The ending of the name, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> "RemotePath":
        """The folder of the object; a bucket is its own parent."""
        return self.with_name("") if len(self.parts) > 1 else self

    @property
    def parents(self) -> "list[RemotePath]":
        """All folders above, the nearest first."""
        found = [RemotePath(f"{self.scheme}://{'/'.join(self.parts[:n])}") for n in range(1, len(self.parts))]
        return found[::-1]

    def with_name(self, name: str) -> "RemotePath":
        """Another name in the same folder."""
        return RemotePath("/".join([f"{self.scheme}://{self.parts[0]}", *self.parts[1:-1], *([name] if name else [])]))

    def with_suffix(self, suffix: str) -> "RemotePath":
        """The same name with another ending."""
        return self.with_name(str(PurePosixPath(self.name).with_suffix(suffix)))

    def resolve(self) -> "RemotePath":
        """The path itself, because there are no links."""
        return self

    def exists(self) -> bool:
        """Whether it is an object, or a folder with objects."""
        return self._kind() is not None

    def is_file(self) -> bool:
        """Whether it is an object."""
        return self._kind() == "file"

    def is_dir(self) -> bool:
        """Whether it is a folder with objects."""
        return self._kind() == "directory"

    def stat(self) -> RemoteStat:
        """Number, size in bytes and time of the object."""
        info = self._info()
        number = int(hashlib.sha256(repr(sorted(info.items(), key=str)).encode()).hexdigest()[:15], 16)
        found = next((info[name] for name in _MODIFIED if info.get(name)), 0.0)
        modified = found.timestamp() if isinstance(found, datetime) else found
        return RemoteStat(number, info.get("size") or 0, modified if isinstance(modified, float) else 0.0)

    def iterdir(self) -> "Iterator[RemotePath]":
        """The contents of the folder; empty if it does not exist."""
        try:
            found = self._ask(lambda store: store.ls(self._key, detail=False))
        except FileNotFoundError:
            return
        names = {name.rstrip("/").rpartition("/")[2] for name in found if name.strip("/") != self._key.strip("/")}
        yield from (self / name for name in sorted(names))

    def glob(self, pattern: str) -> "Iterator[RemotePath]":
        """The contents of the folder whose names match a pattern without a slash."""
        return (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern))

    def files(self) -> "list[RemotePath]":
        """All objects in the folder and its subfolders, in the order of their names."""
        try:
            found = self._ask(lambda store: store.find(self._key))
        except FileNotFoundError:
            return []
        return sorted(self._of(name) for name in found)

    def expand(self) -> "list[RemotePath]":
        """The objects that match a name with *, ** or [], in order."""
        found = self._ask(lambda store: store.glob(self._key, detail=True))
        return sorted(self._of(name) for name, info in found.items() if info["type"] == "file")

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """The object's bytes, read in ranges on demand."""
        assert mode == "rb"
        # Blocks are kept for a while, because Parquet is read to and fro.
        options: dict[str, Any] = {"cache_type": "blockcache", "cache_options": {"maxblocks": BLOCKS}}
        file = self._ask(lambda store: store.open(self._key, "rb", block_size=BLOCK, **options))
        return io.BufferedReader(_Reader(file, self.url), 2**20)

    def read_bytes(self) -> bytes:
        """All of the object's bytes."""
        with self.open() as file:
            return file.read()

    def put(self, whole: Path, new: bool = False) -> None:
        """Upload a local file as the object, whole or not at all.

        Args:
            whole: The file.
            new: Whether to refuse if another object exists. S3, GCS and Azure check that in the same step; if the
                answer to a successful request was lost, equal contents show it.
        """
        store = self._store()
        with explained(self.url, "write"):
            try:
                store.put_file(str(whole), self._key, mode="create" if new else "overwrite")
            except Exception:
                if not new or not self.exists():
                    raise
                if file_sha256(self) != file_sha256(whole):
                    raise UserError(
                        f"{self} was written by another process meanwhile; choose another name, or give --overwrite"
                    ) from None

    def get(self, whole: Path) -> None:
        """Download the object to a local file."""
        with explained(self.url, "read"):
            self._store().get_file(self._key, str(whole))

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object."""
        try:
            self._ask(lambda store: store.rm_file(self._key), "delete")
        except FileNotFoundError:
            if not missing_ok:
                raise

    def rmdir(self) -> None:
        """Do nothing: a folder disappears with its last object."""

    def check_bucket(self) -> None:
        """Raise a UserError if the bucket does not exist, or may not be accessed."""
        bucket = RemotePath(f"{self.scheme}://{'/'.join(self.parts[: 3 if self.scheme == 'hf' else 1])}")
        try:
            if self.scheme != "memory":
                bucket._info()
        except FileNotFoundError:
            raise UserError(f"{bucket} does not exist; create it first, or check the name") from None

    @property
    def _key(self) -> str:
        return "/".join(self.parts)

    def _of(self, key: str) -> "RemotePath":
        return RemotePath(f"{self.scheme}://{key.strip('/')}")

    def _store(self) -> Any:
        import fsspec

        try:
            # A cached listing would not show the writes of other processes.
            store = fsspec.filesystem(self.scheme, use_listings_cache=False)
        except ImportError:
            raise UserError(f"{self.scheme}:// needs another package: `{INSTALLS[self.scheme]}`") from None
        except Exception as error:
            raise refusal(self.url, "read", error) from None
        store.invalidate_cache()
        return store

    def _info(self) -> dict[str, Any]:
        return self._ask(lambda store: store.info(self._key))

    def _kind(self) -> str | None:
        try:
            return self._info()["type"]
        except FileNotFoundError:
            return None

    def _ask(self, call: Callable[[Any], Value], doing: str = "read") -> Value:
        """The store's answer within `ANSWERED_WITHIN`, because the clients' own limits add up to half an hour."""
        store = self._store()  # made here, because each thread has its own clients
        answers: list[Value] = []
        errors: list[BaseException] = []

        def ask() -> None:
            try:
                answers.append(call(store))
            except BaseException as error:  # raised below, in the calling thread
                errors.append(error)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(ANSWERED_WITHIN)
        with explained(self.url, doing):
            if asking.is_alive():
                raise TimeoutError
            if errors:
                raise errors[0]
        return answers[0]


AnyPath = Path | RemotePath


def is_url(name: str) -> bool:
    """Whether a name is a URL and not a local path."""
    return _URL.match(name) is not None


def any_path(name: str | os.PathLike[str]) -> AnyPath:
    """The file or object that a user names.

    Raises:
        UserError: If no file or object can have this name.
    """
    text = os.fspath(name)
    return RemotePath.parse(text) if is_url(text) else usable_path(text)


@contextmanager
def replacing(path: AnyPath, mode: str = "w", new: bool = False) -> Generator[IO[Any]]:
    """Like `replacing_file`, for objects too, which are assembled on the local disk first.

    Args:
        path: File or object to write.
        mode: "w" for text, "wb" for bytes.
        new: Whether to leave an object alone that another process has written meanwhile.

    Raises:
        UserError: If it cannot be written, or is not new.
    """
    if isinstance(path, Path):
        with replacing_file(path, mode) as file:
            yield file
        return
    with tempfile.TemporaryDirectory(prefix="unskew-") as scratch:
        whole = Path(scratch) / "object"
        with replacing_file(whole, mode) as file:
            yield file
        path.put(whole, new)


def local_or_open(path: AnyPath) -> Path | IO[bytes]:
    """A local path, or an open object, for libraries that prefer to read local files by name."""
    return path if isinstance(path, Path) else path.open("rb")


class _Reader(io.RawIOBase):
    """A raw stream over an object, whose errors become our messages."""

    def __init__(self, file: Any, url: str) -> None:
        self._file, self._url = file, url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with explained(self._url, "read"):
            found = self._file.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()
