"""Checks the files of a bundle against its manifest and against the allowed kinds. Loads no model.

Everything is checked before a model's library reads the folder, so a hostile configuration is refused by its numbers
before it fills the memory.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field
from safetensors import SafetensorError, safe_open

from ..common import Artefact, UserError, file_sha256, read_artefact
from .manifest import Manifest

FIT_AGAIN = "restore it or fit again"
# Files that could run code when read, or be read instead of the checked weights.
CODE = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack", ".onnx", ".npy", ".npz", ".joblib", ".py"}
# Sizes in a model's configuration that cannot exceed the largest side of its weights.
SIDES = ("hidden_size", "intermediate_size", "vocab_size", "num_attention_heads", "head_dim", "embedding_size")
LAYERS = ("num_hidden_layers", "n_layer", "num_layers")


class _EncoderTokenizer(Artefact):
    """tokenizer_config.json of the encoder; its limit is the number of tokens that are read."""

    model_max_length: int = Field(ge=1, le=2**24)


class _Config(Artefact):
    """A model's config.json, with whatever an architecture needs."""


def is_exact(path: Path) -> bool:
    """Whether a file must not be changed: weights and tokenizers. Texts for people and paths may be edited."""
    return path.suffix == ".safetensors" or path.name == "tokenizer.json"


def check_files(place: Path, manifest: Manifest) -> None:
    """Compare the files of a bundle with its manifest, and check their kinds and sizes.

    Raises:
        UserError: If a file is missing, truncated, changed, not data, or asks for a model larger than its weights;
            names the first.
    """
    for name in manifest.files | dict.fromkeys(manifest.sha256, 0):
        file = place / name
        if not file.is_file():
            raise UserError(f"bundle {place}: {name} is missing; {FIT_AGAIN}")
        if is_exact(file):
            _check_exact(place, name, manifest)
    for path in _walk(place):
        name = path.relative_to(place)
        if not path.is_file():
            raise UserError(f"bundle {place}: {name} is neither a file nor a folder; remove it")
        if path.suffix.lower() in CODE:
            raise UserError(
                f"bundle {place}: {name} could be custom code, but a bundle has only JSON and safetensors; remove it"
            )
    if (place / "encoder" / "tokenizer_config.json").exists():
        read_artefact(place / "encoder" / "tokenizer_config.json", _EncoderTokenizer, remedy=FIT_AGAIN)
    for folder in (place / "encoder", place / "decoder", place / "decoder" / "base"):
        if (folder / "config.json").exists():
            _check_model(folder)


def _check_exact(place: Path, name: str, manifest: Manifest) -> None:
    file, size = place / name, manifest.files.get(name)
    if size is not None and file.stat().st_size != size:
        raise UserError(
            f"bundle {place}: {name} has {file.stat().st_size} bytes instead of {size}; "
            f"it was cut short or changed; {FIT_AGAIN}"
        )
    if name in manifest.sha256 and file_sha256(file) != manifest.sha256[name]:
        raise UserError(f"bundle {place}: {name} was changed since it was written (SHA-256 differs); {FIT_AGAIN}")


def _walk(place: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(place):  # links to folders are not followed
        yield from (Path(parent, name) for name in sorted(names))
        yield from (path for name in sorted(folders) if (path := Path(parent, name)).is_symlink())


def _check_model(folder: Path) -> None:
    """Refuse a configuration whose sizes do not fit its weights: it would fill the memory before it fails."""
    config: dict[str, Any] = read_artefact(folder / "config.json", _Config, remedy=FIT_AGAIN).plain()
    tensors, side = _measure(folder)
    for names, most in ((SIDES, side), (LAYERS, tensors)):
        for name in names:
            value = config.get(name)
            if value is not None and (type(value) is not int or not 0 <= value <= most):
                raise UserError(
                    f"{folder / 'config.json'} says {name} {value!r:.40}, but its weights have at most {most}"
                )
    if config.get("auto_map"):
        raise UserError(f"{folder / 'config.json'} asks for custom code (auto_map), which is never run; {FIT_AGAIN}")


def _measure(folder: Path) -> tuple[int, int]:
    """The number of tensors in the weights, and the largest side of one."""
    tensors, side = 0, 0
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "numpy") as weights:
                for name in weights.keys():  # noqa: SIM118 not a dict
                    tensors += 1
                    side = max(side, *weights.get_slice(name).get_shape(), 1)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} is not a safetensors file ({error}); {FIT_AGAIN}") from error
    return tensors, side
