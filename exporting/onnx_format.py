"""Writes the encoder as ONNX by torch's exporter, and opens it in ONNX Runtime. Knows no tokenizer and no bundle."""

import contextlib
import io
import json
import warnings
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..common import errors_only
from .encoder_files import Run, explained
from .encoder_graph import INPUTS, OUTPUTS, EncoderGraph

FILE = "model.onnx"
RUNTIME = "ONNX Runtime"
METADATA = "unskew"


def write(graph: EncoderGraph, example: dict[str, torch.Tensor], description: Mapping[str, Any], file: Path) -> None:
    """Write the graph for any number of rows and tokens, with the description in its metadata.

    Raises:
        UserError: If the model has an operator that ONNX lacks.
    """
    free = {name: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for name in INPUTS}
    kind = type(graph.model).__name__
    with explained(f"the encoder ({kind}) cannot be written as ONNX", "export it as openvino or merged"):
        with _quietly():
            program: Any = torch.onnx.export(
                graph,
                (),
                kwargs=example,
                dynamo=True,
                input_names=list(INPUTS),
                output_names=list(OUTPUTS),
                dynamic_shapes=free,
                verbose=False,
            )
        program.model.metadata_props[METADATA] = json.dumps(description, ensure_ascii=False)
        program.save(str(file))


def open_file(file: Path) -> Run:
    """Log-probabilities by ONNX Runtime, on the CPU.

    Raises:
        UserError: If it lacks an operator of the file.
    """
    import onnxruntime

    what = f"{RUNTIME} {onnxruntime.__version__} cannot open the encoder"
    with explained(what, "try a newer onnxruntime, or export as openvino or merged"):
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def run(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.asarray(session.run(["log_probabilities"], dict(inputs))[0])

    return run


@contextlib.contextmanager
def _quietly() -> Generator[None]:
    """Hide the exporter's own remarks while the block runs."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), errors_only("torch.onnx"):
        warnings.simplefilter("ignore")
        yield
