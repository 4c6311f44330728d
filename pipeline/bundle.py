"""The folder that holds a fitted system: its layout, its checks, its versions. Knows no model.

unskew.json    format version, topics with counts, priors, calibration, settings, the size of every other file, and the
               SHA-256 of weights and tokenizers; see `manifest`
encoder/       transformers layout, safetensors
decoder/       PEFT or transformers layout, safetensors; absent where only topics are predicted
held_out.safetensors  what the encoder said of rows held out, and their topics; absent where there were none
metrics.json   measured on the validation rows
README.md      the model card
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from ..common import (
    Artefact,
    UserError,
    file_sha256,
    is_url,
    output_folder,
    read_artefact,
    refuse_existing,
    replacing_folder,
    restore_folder,
    usable_path,
    write_text,
)
from ..decoder import StoredAdapter, StoredDecoder
from .bundle_files import FIT_AGAIN, check_files, is_exact
from .card import model_card
from .manifest import Manifest, Metrics
from .remote_bundle import local_copy

FORMAT = 1
MANIFEST = "unskew.json"
ADAPTER = "adapter_config.json"
HELD_OUT = "held_out.safetensors"

Save = Callable[[Path], None]


@dataclass(frozen=True)
class Contents:
    """What `read` found: the folders of the stages, the held-out rows, and the plain values about them."""

    encoder: Path
    decoder: Path | None
    held_out: Path | None
    corrector: dict[str, Any]
    description: dict[str, Any]
    metrics: dict[str, Any]


def write(
    folder: str | Path,
    *,
    encoder: Save,
    decoder: Save | None,
    held_out: Save | None,
    corrector: Mapping[str, Any],
    description: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> None:
    """Write a bundle under a temporary name and put it in place at the end.

    Args:
        folder: The bundle; an earlier bundle or an empty folder is replaced, anything else is refused.
        encoder: Saves stage 1 to the folder it is called with.
        decoder: Saves stage 2 likewise; None where there is none.
        held_out: Saves the held-out rows to the file it is called with; None where there are none.
        corrector: Topics, priors, calibration and decision.
        description: Settings and fingerprints.
        metrics: Measured on the validation rows.

    Raises:
        UserError: If the folder holds other things, cannot be written, or the disk is full; what was there survives.
    """
    output = output_folder(folder)
    refuse_existing(output, overwrite=True, marker=MANIFEST)
    with replacing_folder(output) as place:
        encoder(place / "encoder")
        if decoder is not None:
            decoder(place / "decoder")
        if held_out is not None:
            held_out(place / HELD_OUT)
        write_text(place / "metrics.json", _json(metrics))
        write_text(place / "README.md", model_card(corrector, description, metrics))
        files = {path.relative_to(place).as_posix(): path for path in sorted(place.rglob("*")) if path.is_file()}
        manifest = {
            "format": FORMAT,
            "unskew": version("unskew"),
            "corrector": corrector,
            "description": description,
            "files": {name: path.stat().st_size for name, path in files.items()},
            "sha256": {name: file_sha256(path) for name, path in files.items() if is_exact(path)},
        }
        write_text(place / MANIFEST, _json(manifest))


def read(folder: str | Path) -> Contents:
    """Check a bundle and say where its parts are; one by URL, or of the hub, is first copied here.

    Raises:
        UserError: If it is missing, no bundle, of a newer format, a file is missing, cut short or changed, a value in
            one is not what it must be, or there are files that no bundle holds.
    """
    if is_url(str(folder)):
        place = local_copy(str(folder), MANIFEST)
    else:
        given = usable_path(folder)
        restore_folder(given)
        place = given if given.exists() else _fetch(str(folder))
    manifest = _manifest(place)
    check_files(place, manifest)
    metrics = _read(place / "metrics.json", Metrics)
    decoder, held_out = place / "decoder", place / HELD_OUT
    if decoder.is_dir():
        _read(decoder / "decoder.json", StoredDecoder)
        if (decoder / ADAPTER).exists():
            _read(decoder / ADAPTER, StoredAdapter)
    return Contents(
        place / "encoder",
        decoder if decoder.is_dir() else None,
        held_out if held_out.exists() else None,
        manifest.corrector.plain(),
        manifest.description.plain(),
        metrics.plain(),
    )


def adapts(description: Mapping[str, Any]) -> bool:
    """Whether a bundle of this description leaves its target prior to each job's own rows."""
    return description.get("settings", {}).get("target_prior") == "adaptive"


def push(repo_id: str, save: Save, *, private: bool, token: str | None) -> str:
    """Save a bundle to a temporary folder and upload it; returns its address.

    Raises:
        UserError: If the hub cannot be reached, or does not take it.
    """
    from huggingface_hub import HfApi

    hub = HfApi(token=token)
    with tempfile.TemporaryDirectory() as scratch:
        save(Path(scratch) / "bundle")
        try:
            hub.create_repo(repo_id, private=private, exist_ok=True)
            return str(hub.upload_folder(repo_id=repo_id, folder_path=Path(scratch) / "bundle"))
        # The hub's client and its dependencies raise errors of many kinds.
        except Exception as error:
            why = "the hub cannot be reached" if _is_offline(error) else f"the hub refused it ({error})"
            remedy = "check the network, the name OWNER/NAME and your token, or save_pretrained(FOLDER) and upload that"
            raise UserError(f"nothing was pushed to {repo_id!r}: {why}; {remedy}") from error


def _manifest(place: Path) -> Manifest:
    if not (place / MANIFEST).exists():
        raise UserError(f"{place} is no bundle: it has no {MANIFEST}; give the folder that `unskew fit` wrote")
    return read_artefact(place / MANIFEST, Manifest, FORMAT, FIT_AGAIN)


Kind = TypeVar("Kind", bound=Artefact)


def _read(path: Path, kind: type[Kind]) -> Kind:
    try:
        return read_artefact(path, kind, remedy=FIT_AGAIN)
    except FileNotFoundError:
        raise UserError(f"bundle {path.parent}: {path.name} is missing; {FIT_AGAIN}") from None


def _fetch(repo_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo_id))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(f"there is no bundle {repo_id}, neither a folder here nor one on the hub") from error


def _is_offline(error: BaseException | None) -> bool:
    """Whether a connection failed, or none was allowed, somewhere down the chain of causes."""
    while error is not None:
        name = type(error).__name__
        if isinstance(error, ConnectionError | TimeoutError) or "Connect" in name or "Timeout" in name:
            return True
        error = error.__cause__ or error.__context__
    return False


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
