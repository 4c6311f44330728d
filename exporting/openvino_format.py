"""The encoder as OpenVINO's IR: converted and checked by OpenVINO. Knows no tokenizer and no bundle."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..common import UserError
from .encoder_files import Run, reason
from .encoder_graph import EncoderGraph

FILE = "openvino_model.xml"
METADATA = "unskew"


def write_openvino(
    graph: EncoderGraph, example: dict[str, torch.Tensor], description: Mapping[str, Any], file: Path
) -> None:
    """Write the graph in float32, rows and tokens free, with the description in its rt_info.

    Raises:
        UserError: If the model has an operator that OpenVINO lacks.
    """
    import openvino

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what tracing warns of, `check_agreement` finds or does not
            model = openvino.convert_model(graph, example_input=example)
        model.set_rt_info(json.dumps(description, ensure_ascii=False), METADATA)
        openvino.save_model(model, file, compress_to_fp16=False)
    except Exception as error:  # of many kinds, with long reports
        raise UserError(
            f"the encoder ({type(graph.model).__name__}) cannot be written for OpenVINO: {reason(error)}; "
            "export it as onnx or merged"
        ) from error


def open_openvino(file: Path) -> Run:
    """Log-probabilities by OpenVINO, on the CPU, in float32.

    Raises:
        UserError: If it lacks an operator that the file asks for.
    """
    import openvino

    try:
        model: Any = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except Exception as error:  # of many kinds
        raise UserError(
            f"OpenVINO {openvino.__version__} cannot open the encoder: {reason(error)}; export as onnx or merged"
        ) from error

    def run(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        return model(dict(inputs))["log_probabilities"]

    return run
