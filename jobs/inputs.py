"""What a job's results depend on besides its settings, in a form that two runs can compare.

Knows files, the hub's addresses and a bundle's layout; loads no model. Files are compared by content and not by date:
a restored backup is the same input, a rewrite within the same second is not, and reading a file takes a second or two
for each gigabyte, where predicting it takes hours.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..common import UserError, file_fingerprint, fingerprint
from ..corpus import HubDataset, Source, format_of, source_parts
from ..pipeline import bundle

_BLOCK = 2**20
_EDITABLE = {"README.md", "metrics.json", bundle.MANIFEST}
_LIBRARIES = ("unskew", "torch", "transformers")


@dataclass(frozen=True)
class InputState:
    """What the input was when the job looked.

    Attributes:
        parts: Name, bytes and SHA-256 of each file; address and revision of each dataset of the hub.
        rows: How many rows there are; None where counting would mean parsing.
        seen: Size and modification time (ns) of each file: whether they changed while the job ran.
    """

    parts: list[dict[str, Any]]
    rows: int | None
    seen: list[tuple[str, int, int]]

    def check_unchanged(self) -> None:
        """Raise a UserError if a file has been written to since."""
        for name, size, modified in self.seen:
            if _stat(Path(name)) != (name, size, modified):
                raise UserError(f"{name} was changed while it was read; run again with --restart once it stands still")


def input_state(source: Source) -> InputState:
    """Read the files of a source once, and ask the hub for the revision of each dataset.

    Raises:
        UserError: If a file does not exist or cannot be read.
    """
    parts: list[dict[str, Any]] = []
    counts: list[int | None] = []
    seen = []
    for part in source_parts(source):
        if isinstance(part, HubDataset):
            parts.append({"address": part.address, "revision": _revision(part)})
            counts.append(None)
            continue
        seen.append(_stat(part))
        digest, lines = _digest(part)
        parts.append({"file": str(part), "bytes": part.stat().st_size, "sha256": digest})
        counts.append(_rows(part, lines))
    rows = [count for count in counts if count is not None]
    return InputState(parts, sum(rows) if len(rows) == len(counts) else None, seen)


def bundle_state(contents: bundle.Contents) -> str:
    """64 hex digits over all of a bundle that predictions depend on, and over the decoder's base where it lies here.

    Raises:
        UserError: If a file cannot be read.
    """
    from ..training import base_contents  # its room loads Lightning

    place = contents.encoder.parent
    files = sorted(path for path in place.rglob("*") if path.is_file() and path.name not in _EDITABLE)
    names = [path.relative_to(place).as_posix() for path in files]
    return fingerprint(contents.decider, names, file_fingerprint(files), base_contents(_base(contents)))


def library_versions() -> dict[str, str]:
    """The versions of what computes: another one may round differently."""
    return {name: version(name) for name in _LIBRARIES}


def _base(contents: bundle.Contents) -> str | None:
    adapter = contents.decoder and contents.decoder / "adapter_config.json"
    if adapter is None or not adapter.is_file():
        return None
    return json.loads(adapter.read_text("utf-8")).get("base_model_name_or_path")


def _stat(path: Path) -> tuple[str, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error
    return str(path), found.st_size, found.st_mtime_ns


def _digest(path: Path) -> tuple[str, int]:
    """SHA-256 and number of lines."""
    digest, lines, last = hashlib.sha256(), 0, b"\n"
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                lines += block.count(b"\n")
                last = block[-1:]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error
    return digest.hexdigest(), lines + (last != b"\n")


def _rows(path: Path, lines: int) -> int | None:
    """Rows of a file whose format tells; blank lines of a JSONL count, so it may be a few too many there."""
    if format_of(path) == "parquet":
        import pyarrow
        import pyarrow.parquet

        try:
            return pyarrow.parquet.read_metadata(path).num_rows
        except (pyarrow.ArrowException, OSError):
            return None  # reading it will say what is wrong
    return lines if path.suffix.lower() == ".jsonl" else None


def _revision(part: HubDataset) -> str | None:
    """The commit of a dataset of the hub; contents of a folder laid out as one; None where the hub cannot say."""
    name, _ = part.name_and_config
    folder = Path(name)
    if folder.is_dir():
        return file_fingerprint(sorted(path for path in folder.rglob("*") if path.is_file()))
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(name).sha
    except Exception:  # the hub's client raises many kinds; reading the rows will say what is wrong
        return None
