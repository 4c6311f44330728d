"""The inputs of a job besides its settings, in a form that two runs can compare.

Knows files, hub addresses and the layout of a bundle; loads no model. Files are compared by content, not by date: a
restored backup is the same input, a rewrite within the same second is not. Reading a gigabyte takes a second or two,
while predicting it takes hours.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, NamedTuple

from ..common import AnyPath, UserError, any_path, check_unicode, file_fingerprint, fingerprint
from ..corpus import (
    Columns,
    HubDataset,
    Source,
    SpreadSample,
    count_rows,
    format_of,
    read_lines,
    sample_texts,
    source_parts,
)
from ..pipeline import bundle

_BLOCK = 2**20
_EDITABLE = {"README.md", "metrics.json", bundle.MANIFEST}
_LIBRARIES = ("unskew", "torch", "transformers")


@dataclass(frozen=True)
class InputState:
    """The input as the job first read it.

    Attributes:
        parts: Name, bytes and SHA-256 of each file; address and revision of each dataset on the hub.
        rows: Number of rows; None if counting would need parsing.
        seen: State of each file, to detect changes while the job runs.
        sources: The files and datasets, in reading order. Rows are read from these alone: a pattern may match more
            files by then.
    """

    parts: list[dict[str, Any]]
    rows: int | None
    seen: "list[FileState]"
    sources: list[AnyPath | HubDataset]

    def check_unchanged(self) -> None:
        """Raise a UserError if a file has been written since, even if its old contents are back."""
        for before in self.seen:
            if file_state(any_path(before.name)) != before:
                raise UserError(
                    f"{before.name} was changed while it was read; restore its old contents to go on, or give "
                    "--restart once it no longer changes"
                )


class FileState(NamedTuple):
    """The state of a file, which shows writes: the change time moves at every write and cannot be set back."""

    name: str
    device: int
    inode: int
    size: int
    modified: int  # ns
    changed: int  # ns


def input_state(source: Source, columns: Columns, sample: SpreadSample | None = None) -> InputState:
    """Read the files of a source once, and ask the hub for the revision of each dataset.

    Args:
        source: Source of the rows.
        columns: Names of the columns.
        sample: Sample to which all rows are shown while they are read; Parquet and JSON arrays, which are not read from
            start to end, are read a second time for that.

    Raises:
        UserError: If a file does not exist, cannot be read, or has a name that the manifest cannot hold.
    """
    parts: list[dict[str, Any]] = []
    counts: list[int | None] = []
    seen = []
    sources = source_parts(source)
    for part in sources:
        if isinstance(part, HubDataset):
            seen += [file_state(path) for path in _files(Path(part.name_and_config[0]))]
            parts.append({"address": part.address, "revision": _revision(part)})
            counts.append(None)
            if sample is not None:
                sample_texts(part, columns, sample)
            continue
        check_unicode(part)
        seen.append(file_state(part))
        digest, count = _read(part, columns, sample)
        parts.append({"file": str(part), "bytes": part.stat().st_size, "sha256": digest})
        counts.append(count)
    rows = [count for count in counts if count is not None]
    return InputState(parts, sum(rows) if len(rows) == len(counts) else None, seen, sources)


def bundle_state(contents: bundle.Contents) -> str:
    """64 hex digits over everything in a bundle that predictions depend on, and over a local base of the decoder.

    Raises:
        UserError: If a file cannot be read.
    """
    from ..training import base_contents  # loads Lightning

    place = contents.encoder.parent
    files = sorted(path for path in place.rglob("*") if path.is_file() and path.name not in _EDITABLE)
    names = [path.relative_to(place).as_posix() for path in files]
    return fingerprint(
        _under_first_names(contents.corrector), names, file_fingerprint(files), base_contents(_base(contents))
    )


def _under_first_names(corrector: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of version 0.1.0, so that a job begun with it resumes with the same bundle."""
    names = {"model_prior": "implied_prior", "labels": "targets"}
    held_out = corrector.get("held_out")
    renamed = {**corrector, **({"held_out": {names.get(k, k): v for k, v in held_out.items()}} if held_out else {})}
    return {names.get(key, key): value for key, value in renamed.items()}


def bundle_folders(contents: bundle.Contents) -> list[Path]:
    """The bundle's folder, and that of a local base of its decoder."""
    base = _base(contents)
    return [contents.encoder.parent, *([Path(base)] if base and Path(base).is_dir() else [])]


def folder_state(folders: Sequence[Path]) -> list[FileState]:
    """The state of all files and folders in some folders; missing folders are skipped.

    Raises:
        UserError: If one disappears meanwhile.
    """
    there = [folder for folder in folders if folder.is_dir()]
    return [file_state(path) for folder in there for path in (folder, *sorted(folder.rglob("*")))]


def library_versions() -> dict[str, str]:
    """The versions of the libraries that compute, because another version may round differently."""
    return {name: version(name) for name in _LIBRARIES}


def _base(contents: bundle.Contents) -> str | None:
    adapter = contents.decoder and contents.decoder / "adapter_config.json"
    if adapter is None or not adapter.is_file():
        return None
    return json.loads(adapter.read_text("utf-8")).get("base_model_name_or_path")


def file_state(path: AnyPath) -> FileState:
    """The state of a file or folder.

    Raises:
        UserError: If it does not exist, or cannot be accessed.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error
    return FileState(str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _read(part: AnyPath, columns: Columns, sample: SpreadSample | None) -> tuple[str, int | None]:
    """SHA-256 of a file and its rows, as `count_rows` counts them."""
    form, lines, count = format_of(part), 0, None
    try:
        with part.open("rb") as raw:
            file = _Hashed(raw)
            if sample is not None and form in ("jsonl", "csv"):
                numbered = read_lines(part, raw=io.BufferedReader(file, _BLOCK))
                counted = ((lines := number, line) for number, line in numbered)
                sample_texts(part, columns, sample, counted)
                count = lines if form == "jsonl" else None
            elif form == "jsonl":
                count = count_rows(part, io.BufferedReader(file, _BLOCK))
            digest = file.sha256()
    except OSError as error:
        raise UserError(f"cannot read {part}: {error.strerror}; check the path and its permissions") from error
    if sample is not None and form not in ("jsonl", "csv"):
        sample_texts(part, columns, sample)
    return digest, count_rows(part) if form == "parquet" else count


class _Hashed(io.RawIOBase):
    """A file that is hashed as it is read from start to end."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw, self._digest = raw, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self._raw.readinto(buffer)  # pyright: ignore[reportAttributeAccessIssue] all files here have it
        self._digest.update(memoryview(buffer)[:found])
        return found

    def sha256(self) -> str:
        """SHA-256 of the whole file, whose rest is read for that."""
        rest = memoryview(bytearray(_BLOCK))
        while self.readinto(rest):
            pass
        return self._digest.hexdigest()


def _revision(part: HubDataset) -> str | None:
    """The commit of a dataset on the hub, or the contents of a local folder; None if the hub cannot tell."""
    name, _ = part.name_and_config
    if Path(name).is_dir():
        return file_fingerprint(_files(Path(name)))
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(name).sha
    except Exception:  # the hub's client raises many kinds; reading the rows will report the problem
        return None
