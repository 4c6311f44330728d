"""The common parts of the ONNX and OpenVINO exports: the graph, the tokenizer's files, the check of the result.

Knows the encoder; knows neither format.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from ..common import UserError, first_line
from ..encoder import TopicEncoder, pad, pad_id_of, read_classifier, tokenize
from ..pipeline import HARMLESS_TEXT, HybridPipeline
from .encoder_graph import EncoderGraph

TOLERANCE = 1e-4  # largest difference of a probability that float32 rounding explains

Run = Callable[[Mapping[str, np.ndarray]], np.ndarray]


def make_graph(encoder_folder: Path, system: HybridPipeline) -> EncoderGraph:
    """The graph of a bundle's encoder, loaded again because prepacked layers cannot be exported."""
    model, _, _ = read_classifier(encoder_folder)
    model.requires_grad_(False)
    return EncoderGraph(model, system.corrector)


def example_inputs(encoder: TopicEncoder) -> dict[str, torch.Tensor]:
    """Two rows of different lengths. Every variable dimension is larger than 1, so the exporter takes none as fixed."""
    return _inputs(encoder, [HARMLESS_TEXT, "A short one."])


def save_tokenizer(encoder: TopicEncoder, folder: Path) -> None:
    """Write the tokenizer so that `tokenizers` alone truncates and pads texts as the encoder does.

    Raises:
        UserError: If it is written in Python, so that no other runtime can read it.
    """
    tokenizer: PreTrainedTokenizerBase = deepcopy(encoder.tokenizer)
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UserError("the encoder's tokenizer is written in Python and has no tokenizer.json; export it as merged")
    backend.enable_truncation(encoder.max_tokens)
    backend.enable_padding(pad_id=pad_id_of(tokenizer), pad_token=str(tokenizer.pad_token or "[PAD]"))
    tokenizer.save_pretrained(folder)
    backend.save(str(folder / "tokenizer.json"))
    encoder.model.config.save_pretrained(folder)


def check_agreement(system: HybridPipeline, run: Run, what: str) -> float:
    """The largest difference of a probability between a runtime and the bundle, over texts of all lengths.

    Args:
        system: The bundle.
        run: Function from inputs (B, T) to log-probabilities (B, C) by the runtime.
        what: Name of the format for the message.

    Raises:
        UserError: If it is larger than `TOLERANCE`.
    """
    encoder = system.encoder
    names = list(system.topics.names)
    longest = f"{HARMLESS_TEXT} " * encoder.max_tokens  # cut to the most tokens that are read
    batches = [[HARMLESS_TEXT], [HARMLESS_TEXT * 20, *names[:30]], ["a", "b", HARMLESS_TEXT], [longest, "a"]]
    worst = 0.0
    for texts in batches:
        inputs = {name: tensor.numpy() for name, tensor in _inputs(encoder, texts).items()}
        found = torch.from_numpy(np.asarray(run(inputs))).exp()
        worst = max(worst, float((found - system.probabilities(texts)).abs().nan_to_num(torch.inf).max()))
    if worst > TOLERANCE:
        raise UserError(
            f"{what} disagrees with the bundle: a probability differs by {worst:.2g}, more than {TOLERANCE:g}; "
            "nothing was written; export as merged, or report it with the encoder's base"
        )
    return worst


@contextmanager
def explained(what: str, remedy: str) -> Generator[None]:
    """Turn any error of a converter or a runtime into one line."""
    try:
        yield
    except Exception as error:
        raise UserError(f"{what}: {_reason(error)}; {remedy}") from error


def _reason(error: BaseException) -> str:
    """The innermost cause in one line: the operators, if it names any."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "operations" in line), first_line(error))


def _inputs(encoder: TopicEncoder, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    return pad(tokenize(encoder.tokenizer, texts, encoder.max_tokens), pad_id_of(encoder.tokenizer))
