"""The folder of a fitted system: its layout, checks and versions. Knows no model.

unskew.json    format version, topics with counts, priors, calibration, settings, the size of every other file, and the
               SHA-256 of weights and tokenizers; see `manifest`
encoder/       transformers layout, safetensors
decoder/       PEFT or transformers layout, safetensors; absent if only topics are predicted
held_out.safetensors  log-probabilities, topics and weights of held-out rows; absent if there are none
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
    BUNDLE_MANIFEST,
    Artefact,
    UserError,
    check_unicode,
    file_sha256,
    is_url,
    model_folder,
    read_artefact,
    refuse_existing,
    replacing_folder,
    restore_folder,
    usable_path,
    write_text,
)
from ..decoder import StoredAdapter, StoredDecoder
from .bundle_files import FIT_AGAIN, check_files, is_exact
from .card import Example, model_card
from .manifest import Manifest, Metrics
from .remote_bundle import local_copy

FORMAT = 1
MANIFEST = BUNDLE_MANIFEST
ADAPTER = "adapter_config.json"
HELD_OUT = "held_out.safetensors"

Save = Callable[[Path], None]


@dataclass(frozen=True)
class Contents:
    """The result of `read`: the folders of the stages, the file of held-out rows, decoder.json, and plain values."""

    encoder: Path
    decoder: Path | None
    held_out: Path | None
    stored_decoder: StoredDecoder | None
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
    example: Example,
) -> None:
    """Write a bundle under a temporary name, and move it into place at the end.

    Args:
        folder: Folder of the bundle; an earlier bundle or an empty folder is replaced, anything else is refused.
        encoder: Function that saves stage 1 to a given folder.
        decoder: Function that saves stage 2 to a given folder; None without a decoder.
        held_out: Function that saves the held-out rows to a given file; None without such rows.
        corrector: Topics, priors, calibration and decision.
        description: Settings and fingerprints.
        metrics: Metrics on the validation rows.
        example: The card's example.

    Raises:
        UserError: If the folder has other contents, cannot be written, or the disk is full; its contents survive.
    """
    output = model_folder(folder)
    refuse_existing(output, overwrite=True, marker=MANIFEST)
    with replacing_folder(output) as place:
        encoder(place / "encoder")
        if decoder is not None:
            decoder(place / "decoder")
        if held_out is not None:
            held_out(place / HELD_OUT)
        write_text(place / "metrics.json", _json(metrics))
        write_text(place / "README.md", model_card(corrector, description, metrics, example))
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
    """Check a bundle and find its parts; a bundle from a URL or the hub is copied here first.

    Raises:
        UserError: If it is missing, not a bundle or of a newer format, a file is missing, truncated or changed, a value
            is invalid, or there are files that do not belong in a bundle.
    """
    if is_url(str(folder)):
        place = local_copy(str(folder), MANIFEST)
    else:
        given = usable_path(folder)
        check_unicode(given.absolute())
        restore_folder(given)
        place = given if given.exists() else _fetch(str(folder))
    manifest = _manifest(place)
    check_files(place, manifest)
    metrics = _read(place / "metrics.json", Metrics)
    decoder, held_out, stored = place / "decoder", place / HELD_OUT, None
    if decoder.is_dir():
        stored = _read(decoder / "decoder.json", StoredDecoder)
        if (decoder / ADAPTER).exists():
            _read(decoder / ADAPTER, StoredAdapter)
    return Contents(
        place / "encoder",
        decoder if decoder.is_dir() else None,
        held_out if held_out.exists() else None,
        stored,
        manifest.corrector.plain(),
        manifest.description.plain(),
        metrics.plain(),
    )


def adapts(description: Mapping[str, Any]) -> bool:
    """Whether a bundle with this description adapts its target prior to each job's rows."""
    return description.get("settings", {}).get("target_prior") == "adaptive"


def push(repo_id: str, save: Save, *, private: bool, token: str | None) -> str:
    """Save a bundle to a temporary folder and upload it. Returns its address.

    Raises:
        UserError: If the hub cannot be reached, or refuses the bundle.
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
        raise UserError(f"{place} is not a bundle: it has no {MANIFEST}; give the folder that `unskew fit` wrote")
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
        raise UserError(
            f"there is no bundle {repo_id}, neither a local folder nor on the hub; check the name"
        ) from error


def _is_offline(error: BaseException | None) -> bool:
    """Whether a failed or forbidden connection is among the causes of an error."""
    while error is not None:
        name = type(error).__name__
        if isinstance(error, ConnectionError | TimeoutError) or "Connect" in name or "Timeout" in name:
            return True
        error = error.__cause__ or error.__context__
    return False


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
