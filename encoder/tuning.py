"""Fine-tuning of the whole encoder from a probe's head: a fixed number of gentle passes in small batches.

Knows the model, rows and Lightning; does not know which rows to use or whether it paid off, which the recipe decides.
Linear probing comes first (Kumar et al. 2022), so that an untrained head does not distort the body.
"""

import math
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from ..balance import LossSettings, make_loss
from ..corpus import Topics
from ..training import RunOptions, run
from .data import EncoderData, Rows
from .layers import freeze_all_but_layers, layer_rates
from .module import EncoderModule
from .output_layer import output_layer
from .settings import EncoderSettings

LOSS = LossSettings("logit_adjusted")  # its logits favour no topic, like the probe's


def passes_within(rows: int, settings: EncoderSettings) -> int:
    """Passes over the rows within the budget of steps; at least one."""
    steps_a_pass = math.ceil(rows / settings.rows_per_batch)
    return max(1, min(settings.clean.epochs or 0, settings.max_steps // steps_a_pass))


def tune(
    model: PreTrainedModel,
    rows: Rows,
    topics: Topics,
    settings: EncoderSettings,
    folder: Path,
    name: str,
    seed: int,
    pad_id: int,
) -> None:
    """Tune a model in place from its current head, or resume an interrupted call with the same folder.

    Args:
        model: Classifier over `topics` with a probe's head.
        rows: Rows to train on.
        topics: Topics, in the order of the logits.
        settings: Resolved settings; `clean` is the length and speed.
        folder: Folder of checkpoints and logs.
        name: Name for log lines.
        seed: Random seed of order and dropout.
        pad_id: Padding token id.
    """
    counts = np.bincount(rows.labels, rows.weights, len(topics)).tolist()
    freeze_all_but_layers(model, output_layer(model)[1])
    module = EncoderModule(
        model,
        settings.clean,
        make_loss(LOSS, counts),
        topics,
        [],
        rates=layer_rates(model, settings.layer_decay or 1.0),
    )
    data = EncoderData(
        rows,
        None,
        pad_id=pad_id,
        tokens_per_batch=settings.tokens_per_batch or 0,
        seed=seed,
        max_rows=settings.rows_per_batch,
    )
    options = RunOptions(
        folder=folder,
        name=name,
        epochs=passes_within(len(rows), settings),
        seed=seed,
        checkpoint_minutes=settings.clean.checkpoint_minutes,
        trainer=settings.trainer,
    )
    device = model.device
    run(module, data, options)
    model.to(device)  # pyright: ignore[reportArgumentType]  # Lightning leaves it on the CPU
    model.requires_grad_(True)
    model.eval()
