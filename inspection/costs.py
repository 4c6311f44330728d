"""Estimates time and memory of a fit on this machine, from its arithmetic and the machine's measured speed.

Knows sizes of models and numbers of tokens; fits nothing and reads no weights. The constants are rough, and were not
checked against fits.
"""

import time
from dataclasses import dataclass

import torch
from transformers import AutoModel, AutoModelForCausalLM

from ..common import UserError, first_line
from ..decoder import DecoderSettings
from ..encoder import FEW_TOKENS, MAX_NOISY_ROWS, EncoderSettings
from ..pipeline import choose_device
from ..runtime import read_config
from ..training import CHECKPOINT_COPIES, ScratchSettings
from .results import Estimate

SIZE = 1024  # side of the matrices whose product measures the machine's speed
STARTED = 8.0  # seconds: reading weights, checkpoints, calibration
A_STEP = 0.03  # seconds of a training step on top of its arithmetic
EFFICIENCY = 0.5  # speed of a model's products relative to products of large matrices
LIBRARIES = 0.8  # gigabytes of a process that has loaded the libraries
ACTIVATIONS = 40  # bytes kept for the backward pass, per token, layer and unit of width
FEATURES = 1 / 3  # cost of a forward pass relative to a training pass


@dataclass(frozen=True)
class Size:
    """A model's sizes: parameters of its layers, parameters of embeddings and output, number of layers, and width."""

    inner: int
    outer: int
    layers: int
    width: int


def estimate_fit(
    encoder: EncoderSettings, decoder: DecoderSettings | None, clean: int, noisy: int, tokens: float, target: float
) -> list[Estimate]:
    """An estimate for each stage of a fit.

    Args:
        encoder: Settings of stage 1.
        decoder: Settings of stage 2; None without one.
        clean: Number of clean rows.
        noisy: Number of noisy rows.
        tokens: Mean number of tokens read from a text.
        target: Mean number of tokens of a target.

    Raises:
        UserError: If a base cannot be read.
    """
    rate = _multiplications()
    encoder = encoder.resolved()
    size = _size(encoder.base, encoder.scratch, AutoModel)
    if encoder.recipe == "phases":
        rows = clean * (encoder.clean.epochs or 0) + noisy * (encoder.noisy.epochs or 0)
        steps = rows * tokens / encoder.tokens_per_batch
    else:
        trained, featured = _tuned_passes(clean, tokens, encoder) if encoder.recipe == "tuned" else (0.0, 1)
        rows = clean * trained + FEATURES * (clean + min(noisy, MAX_NOISY_ROWS)) * featured
        steps = clean * trained / encoder.rows_per_batch
    found = [_stage("encoder", size, rows * tokens, steps, rate, encoder.tokens_per_batch, 0, 3)]
    if decoder is not None:
        decoder = decoder.resolved()
        size = _size(decoder.base, decoder.scratch, AutoModelForCausalLM)
        length = tokens + target + 8  # of the prompt
        rows = clean * (decoder.clean.epochs or 0) + (noisy or clean) * (decoder.noisy.epochs or 0)
        steps = rows * length / decoder.tokens_per_batch
        trained = 3 if decoder.base is None or decoder.adaptation == "full" else 0
        output = size.outer * target / length  # the loss is on the target alone
        read = rows * length * (1 + (decoder.text_swap or 0))
        found.append(_stage("decoder", size, read, steps, rate, decoder.tokens_per_batch, output, trained))
    return found


def _tuned_passes(clean: int, tokens: float, encoder: EncoderSettings) -> tuple[float, int]:
    """Passes of the recipe "tuned" over the clean rows: for training, and for features."""
    epochs = encoder.clean.epochs or 0
    if clean * tokens <= FEW_TOKENS:
        return 2.0 * epochs, 4  # tuned on two halves, then on all rows; features by the base and by each of the three
    return max(1, min(epochs, encoder.max_steps * encoder.rows_per_batch // clean)) * 1.0, 2


def _stage(
    name: str, size: Size, tokens: float, steps: float, rate: float, batch: int, output: float, copies: int
) -> Estimate:
    """Count six operations per parameter and token (Kaplan et al. 2020): two forward, four backward."""
    seconds = 6 * (size.inner + output) * tokens / (rate * EFFICIENCY) + steps * A_STEP + STARTED
    weights = 4 * (size.inner + size.outer) * (1 + copies)
    trained = size.inner + size.outer if copies else 0  # an adapter's parameters are few
    kept = ACTIVATIONS * batch * size.layers * size.width + 8 * batch * output / max(size.width, 1)
    return Estimate(
        stage=name,
        seconds=round(seconds, 1),
        gigabytes=round(LIBRARIES + (weights + kept) / 1e9, 2),
        checkpoints=round(CHECKPOINT_COPIES * 4 * trained / 1e9, 2),
    )


def _size(base: str | None, scratch: ScratchSettings, kind: type) -> Size:
    if base is None:
        layer = 4 * scratch.width**2 + 6 * scratch.width**2
        return Size(scratch.layers * layer, scratch.vocabulary * scratch.width, scratch.layers, scratch.width)
    try:
        config = read_config(base)
        with torch.device("meta"):
            model = kind.from_config(config)
    except UserError:
        raise
    except Exception as error:  # of any kind: the files may contain anything
        raise UserError(f"{base!r} cannot be read ({first_line(error)}): give a hub id or a folder") from error
    total, table = sum(weight.numel() for weight in model.parameters()), model.get_input_embeddings().weight
    text = config.get_text_config()
    outer = table.numel()
    return Size(total - outer, outer, getattr(text, "num_hidden_layers", 12), table.shape[1])


def _multiplications() -> float:
    """Operations per second of float32 products of large matrices, on the device that a fit would use."""
    device = choose_device()
    one = torch.ones(SIZE, SIZE, device=device)
    best = float("inf")
    for _ in range(4):
        begun = time.perf_counter()
        (one @ one)[0, 0].item()
        best = min(best, time.perf_counter() - begun)
    return 2 * SIZE**3 / best
