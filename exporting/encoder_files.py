"""What ONNX and OpenVINO share: the graph to convert, the tokenizer's files, and the check of what was written.

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
from ..pipeline import HARMLESS, HybridPipeline
from .encoder_graph import EncoderGraph

TOLERANCE = 1e-4  # of a probability: float32 in another order of sums, and no more

Run = Callable[[Mapping[str, np.ndarray]], np.ndarray]


def make_graph(encoder_folder: Path, system: HybridPipeline) -> EncoderGraph:
    """The graph of a bundle's encoder; read again, because layers that are packed for this processor have none."""
    model, _, _ = read_classifier(encoder_folder)
    model.requires_grad_(False)
    return EncoderGraph(model, system.corrector)


def example_inputs(encoder: TopicEncoder) -> dict[str, torch.Tensor]:
    """Two rows of different lengths: every side that may vary is larger than 1, so that none is taken for fixed."""
    return _inputs(encoder, [HARMLESS, "A short one."])


def save_tokenizer(encoder: TopicEncoder, folder: Path) -> None:
    """Write the tokenizer so that `tokenizers` alone cuts and pads texts as the encoder has them.

    Raises:
        UserError: If it is written in Python, which no other runtime can read.
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
        run: Log-probabilities (B, C) of inputs (B, T) by the runtime.
        what: The format, for the message.

    Raises:
        UserError: If it is more than `TOLERANCE`.
    """
    encoder = system.encoder
    names = list(system.topics.names)
    batches = [[HARMLESS], [HARMLESS * 20, *names[:30]], ["a", "b", HARMLESS]]
    worst = 0.0
    for texts in batches:
        inputs = {name: tensor.numpy() for name, tensor in _inputs(encoder, texts).items()}
        found = torch.from_numpy(np.asarray(run(inputs))).exp()
        worst = max(worst, float((found - system.probabilities(texts)).abs().nan_to_num(torch.inf).max()))
    if worst > TOLERANCE:
        raise UserError(
            f"{what} does not say what the bundle says: a probability differs by {worst:.2g}, more than {TOLERANCE:g}; "
            "nothing was written; export as merged, or report it with the encoder's base"
        )
    return worst


@contextmanager
def explained(what: str, remedy: str) -> Generator[None]:
    """Turn any error of a converter or a runtime, of many kinds and with long reports, into one line."""
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
