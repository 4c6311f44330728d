"""The folder that holds a fitted system: its layout, its checks, its versions. Knows no model.

unskew.json    format version, topics with counts, priors, calibration, settings, and the size of every other file
encoder/       transformers layout, safetensors
decoder/       PEFT or transformers layout, safetensors; absent where only topics are predicted
metrics.json   measured on the validation rows
README.md      the model card
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..common import UserError, replacing_folder, restore_folder, write_text
from .card import model_card

FORMAT = 1
MANIFEST = "unskew.json"
EXACT = {".safetensors"}

Save = Callable[[Path], None]


@dataclass(frozen=True)
class Contents:
    """What `read` found: the folders of the stages and the plain values about them."""

    encoder: Path
    decoder: Path | None
    decider: dict[str, Any]
    description: dict[str, Any]
    metrics: dict[str, Any]


def write(
    folder: str | Path,
    *,
    encoder: Save,
    decoder: Save | None,
    decider: Mapping[str, Any],
    description: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> None:
    """Write a bundle under a temporary name and put it in place at the end.

    Args:
        folder: The bundle; replaced if it exists.
        encoder: Saves stage 1 to the folder it is called with.
        decoder: Saves stage 2 likewise; None where there is none.
        decider: Topics, priors and calibration.
        description: Settings and fingerprints.
        metrics: Measured on the validation rows.

    Raises:
        UserError: If the folder cannot be written or the disk is full; what stood there survives.
    """
    with replacing_folder(folder) as place:
        encoder(place / "encoder")
        if decoder is not None:
            decoder(place / "decoder")
        write_text(place / "metrics.json", _json(metrics))
        write_text(place / "README.md", model_card(decider, description, metrics))
        sizes = {
            path.relative_to(place).as_posix(): path.stat().st_size
            for path in sorted(place.rglob("*"))
            if path.is_file()
        }
        manifest = {"format": FORMAT, "unskew": version("unskew"), "decider": decider}
        write_text(place / MANIFEST, _json({**manifest, "description": description, "files": sizes}))


def read(folder: str | Path) -> Contents:
    """Check a bundle and say where its parts are; a name that is no folder here is fetched from the hub.

    Raises:
        UserError: If it is missing, no bundle, of a newer format, or has a missing or truncated file.
    """
    restore_folder(folder)
    place = Path(folder) if Path(folder).exists() else _fetch(str(folder))
    manifest = _manifest(place)
    for name, size in manifest["files"].items():
        file = place / name
        if not file.is_file():
            raise UserError(f"bundle {folder}: {name} is missing; restore it or fit again")
        # Small texts may be edited: the model card, or where an adapter's base lies.
        if file.suffix in EXACT and file.stat().st_size != size:
            raise UserError(
                f"bundle {folder}: {name} has {file.stat().st_size} bytes and not the {size} that were written; "
                "it was cut short or changed; restore it or fit again"
            )
    decoder = place / "decoder"
    return Contents(
        place / "encoder",
        decoder if decoder.is_dir() else None,
        manifest["decider"],
        manifest["description"],
        json.loads((place / "metrics.json").read_text("utf-8")),
    )


def push(repo_id: str, save: Save, *, private: bool, token: str | None) -> str:
    """Save a bundle to a temporary folder and upload it; returns its address."""
    from huggingface_hub import HfApi

    hub = HfApi(token=token)
    hub.create_repo(repo_id, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        save(Path(scratch) / "bundle")
        return str(hub.upload_folder(repo_id=repo_id, folder_path=Path(scratch) / "bundle"))


def _manifest(place: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((place / MANIFEST).read_text("utf-8"))
        newer = manifest["format"] > FORMAT
        whole = {"decider", "description", "files"} <= set(manifest)
    except FileNotFoundError:
        raise UserError(
            f"{place} is no bundle: it has no {MANIFEST}; give the folder that `unskew fit` wrote"
        ) from None
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"bundle {place}: {MANIFEST} is broken or cut short; restore it or fit again") from error
    if newer:
        raise UserError(
            f"bundle {place} has format {manifest['format']}, this version of unskew reads up to {FORMAT}; "
            "upgrade with `pip install -U unskew`"
        )
    if not whole:
        raise UserError(f"bundle {place}: {MANIFEST} lacks its parts; restore it or fit again")
    return manifest


def _fetch(repo_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo_id))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(f"there is no bundle {repo_id}, neither a folder here nor one on the hub") from error


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
