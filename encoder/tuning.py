"""Fine-tuning of the whole encoder from a probe's head: short, gentle, in small batches, a fixed number of passes.

Linear probing first, then fine-tuning (Kumar et al. 2022): the body is not pulled about by a head that knows nothing
yet. Knows the model, rows and Lightning; which rows and whether it paid are the recipe's.
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

LOSS = LossSettings("logit_adjusted")  # its logits favour no topic, as the probe's do


def passes_within(rows: int, settings: EncoderSettings) -> int:
    """Passes over the rows, cut to the budget of steps; at least one."""
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
    """Tune a model in place, from the head it has; goes on where an earlier call with the same folder was interrupted.

    Args:
        model: A classifier over `topics` whose head is a probe's.
        rows: To train on.
        topics: In the order of the logits.
        settings: Resolved; `clean` is the length and speed.
        folder: Folder of checkpoints and logs.
        name: For log lines.
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
    run(module, data, options)
    model.requires_grad_(True)
    model.eval()
