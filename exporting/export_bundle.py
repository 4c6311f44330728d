"""Exports a bundle: chooses the format's writer, checks the result, and moves the folder into place.

Knows the functions of each format; knows no operator and no layout.
"""

import importlib.util
import json
import logging
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common import UserError, model_folder, refuse_existing, replacing_folder, write_text
from ..decoder import TopicDecoder
from ..pipeline import HybridPipeline, bundle
from . import encoder_files, merged_format, onnx_format, openvino_format
from .description import describe
from .readme import readme
from .settings import DESCRIPTION, PACKAGES, TAKES, ExportSettings

log = logging.getLogger("unskew")


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        folder: Folder of the export.
        stages: Exported stages.
        difference: Largest difference of a probability between the format's runtime and the bundle; None if nothing was
            converted.
    """

    folder: Path
    stages: tuple[str, ...]
    difference: float | None


def export(model: str, output: str, settings: ExportSettings, overwrite: bool = False) -> Exported:
    """Write a bundle for another runtime, whole or not at all.

    Args:
        model: Bundle: a folder, or its id on the hub.
        output: Folder to write.
        settings: Stages and format of the export.
        overwrite: Whether to replace an earlier export.

    Raises:
        UserError: If the bundle or the output cannot be used, a package is not installed, the format does not support
            the model, or its runtime disagrees with the bundle.
    """
    place = model_folder(output)
    refuse_existing(place, overwrite, DESCRIPTION)
    _check_packages(settings)
    contents = bundle.read(model)
    stages = _stages(settings, contents.decoder is not None, model)
    system = HybridPipeline.from_pretrained(model, device="cpu", with_decoder="decoder" in stages)
    if settings.target_prior is not None:
        system = system.with_target_prior(settings.target_prior)
    elif system.adapts and "encoder" in stages:
        log.warning(
            "the bundle adapts its target prior to each job, which an export cannot: exported probabilities are for "
            "the shares stored in the bundle; give --target_prior uniform, train or shares for others"
        )
    described: dict[str, Any] = {"export": settings.format, **describe(system, stages)}
    with replacing_folder(place) as folder:
        difference = _write(settings, contents, system, described, folder)
        write_text(folder / DESCRIPTION, json.dumps(described, indent=2, ensure_ascii=False) + "\n")
        write_text(folder / "README.md", readme(settings.format, described))
    return Exported(place, stages, difference)


def _write(
    settings: ExportSettings, contents: bundle.Contents, system: HybridPipeline, described: dict[str, Any], folder: Path
) -> float | None:
    match settings.format:
        case "onnx" | "openvino":
            return _write_graph(settings.format, contents.encoder, system, described, folder)
        case "merged":
            if "encoder" in described:
                merged_format.write_encoder(contents.encoder, folder / "encoder")
            if system.decoder is not None:
                merged_format.write_decoder(system.decoder, folder / "decoder")
        case "gguf":
            assert system.decoder is not None  # checked in `_stages`
            _write_gguf(system.decoder, described, folder)
    return None


def _write_graph(
    kind: str, encoder_folder: Path, system: HybridPipeline, described: dict[str, Any], folder: Path
) -> float:
    form = onnx_format if kind == "onnx" else openvino_format
    graph = encoder_files.make_graph(encoder_folder, system)
    encoder_files.save_tokenizer(system.encoder, folder)
    log.info("the encoder is traced and written as %s, which may take minutes", form.FILE)
    form.write(graph, encoder_files.example_inputs(system.encoder), described, folder / form.FILE)
    log.info("%s is compared with the bundle", form.RUNTIME)
    return encoder_files.check_agreement(system, form.open_file(folder / form.FILE), form.RUNTIME)


def _write_gguf(decoder: TopicDecoder, described: dict[str, Any], folder: Path) -> None:
    from . import gguf_format

    with tempfile.TemporaryDirectory(dir=folder) as plain:
        merged_format.write_decoder(decoder, Path(plain))
        start = gguf_format.write_gguf(Path(plain), described, folder / gguf_format.FILE)
        shutil.copy(Path(plain) / "tokenizer.json", folder)
    write_text(folder / "Modelfile", gguf_format.modelfile(described["decoder"], start))


def _stages(settings: ExportSettings, has_decoder: bool, model: str) -> tuple[str, ...]:
    if not has_decoder and "decoder" in settings.stages and settings.stages != TAKES["merged"]:
        raise UserError(
            f"{model} has no decoder: it was fitted with `decoder: null`; export its encoder as onnx or merged"
        )
    found = tuple(stage for stage in settings.stages if stage == "encoder" or has_decoder)
    if has_decoder and settings.stage is None and "decoder" not in found:
        others = " or ".join(name for name, stages in TAKES.items() if "decoder" in stages)
        log.info("%s exports only the encoder; export the decoder as %s", settings.format, others)
    return found


def _check_packages(settings: ExportSettings) -> None:
    missing = [name for name in PACKAGES[settings.format] if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"format {settings.format} needs {', '.join(missing)}; pip install 'unskew[{settings.format}]'")
