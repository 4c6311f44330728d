"""Writes the encoder as OpenVINO's IR, and opens it in OpenVINO. Knows no tokenizer and no bundle."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .encoder_files import Run, explained
from .encoder_graph import EncoderGraph

FILE = "openvino_model.xml"
RUNTIME = "OpenVINO"
METADATA = "unskew"


def write(graph: EncoderGraph, example: dict[str, torch.Tensor], description: Mapping[str, Any], file: Path) -> None:
    """Write the graph in float32 for any number of rows and tokens, with the description in its rt_info.

    Raises:
        UserError: If the model has an operator that OpenVINO lacks.
    """
    import openvino

    kind = type(graph.model).__name__
    with explained(f"the encoder ({kind}) cannot be written for OpenVINO", "export it as onnx or merged"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns of possible errors, which `check_agreement` would find
            model = openvino.convert_model(graph, example_input=example)
        model.set_rt_info(json.dumps(description, ensure_ascii=False), METADATA)
        openvino.save_model(model, file, compress_to_fp16=False)


def open_file(file: Path) -> Run:
    """Log-probabilities by OpenVINO, on the CPU, in float32.

    Raises:
        UserError: If it lacks an operator of the file.
    """
    import openvino

    with explained(f"{RUNTIME} {openvino.__version__} cannot open the encoder", "export as onnx or merged"):
        model: Any = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        return model(dict(inputs))["log_probabilities"]

    return run
