"""The commands that need the models: their options, and what they print. Knows the pipeline; parses nothing."""

import os
from pathlib import Path
from typing import Literal

import transformers
from rich.console import Console

from ..balance.calibration import CalibrationKind
from ..corpus import Columns
from ..decoder import DecoderSettings, GenerationSettings
from ..encoder import EncoderSettings
from . import evaluating, fitting
from .exits import SOME_ROWS_BAD
from .hybrid import HybridPipeline
from .places import refuse_existing
from .settings import DataSettings, FitSettings, ModelPrior, TargetPrior
from .tables import print_evaluation

CONSOLE_WIDTH = 120

transformers.utils.logging.disable_progress_bar()  # loading takes a moment; its bars would bury ours


def fit(
    data: DataSettings,
    output: str,
    encoder: EncoderSettings = EncoderSettings(),  # noqa: B008 frozen
    decoder: DecoderSettings | None = DecoderSettings(),  # noqa: B008 frozen
    calibration: CalibrationKind = "bias_corrected_temperature",
    model_prior: ModelPrior = "loss",
    target_prior: TargetPrior = "uniform",
    seed: int = 0,
    overwrite: bool = False,
) -> int:
    """Fit a system.

    Args:
        data: The records.
        output: The bundle's folder.
        encoder: Stage 1.
        decoder: Stage 2; null fits the topic classifier alone.
        calibration: How the topics' probabilities are calibrated; kept only where the held-out NLL improves.
        model_prior: Where the prior that is divided out comes from: loss (derived from loss and counts) or
            mean_posterior (measured on the validation rows).
        target_prior: The prior to be right for: uniform, train, or shares by topic.
        seed: Of everything random.
        overwrite: Replace what stands there.
    """
    settings = FitSettings(data, encoder, decoder, calibration, model_prior, target_prior, seed)
    fitting.fit(settings, output, overwrite=overwrite)
    return 0


def evaluate(
    model: str,
    input: list[str] | str,
    output: str,
    columns: Columns = Columns(),  # noqa: B008 frozen
    train: list[str] | str | None = None,
    newsroom: str | None = None,
    generation: GenerationSettings = GenerationSettings(),  # noqa: B008 frozen
    fairness: bool = False,
    target_prior: TargetPrior | Literal["estimate"] | None = None,
    device: str | None = None,
    overwrite: bool = False,
) -> int:
    """Measure a system.

    Args:
        model: A bundle: a folder, or its id on the hub.
        input: Labelled rows.
        output: A folder for evaluation.json, predictions.jsonl and evaluation.png.
        columns: Which column holds what.
        train: The clean training set: checked to share no text with the input, and teaches the judge of topic fit.
        newsroom: The newsroom.json of synthetic rows: adds the Bayes ceiling.
        generation: How outputs are written.
        fairness: Put the prior-suppression token before the topic.
        target_prior: The prior to be right for: uniform, train, shares by topic, or estimate (from these very rows,
            their topics unseen); the bundle's own unless given.
        device: cpu, cuda, cuda:1, ...; a GPU where there is one unless given.
        overwrite: Replace what stands at output.
    """
    refuse_existing(Path(output), overwrite, evaluating.RESULT)
    evaluation = evaluating.evaluate(
        _load(model, device, None if target_prior == "estimate" else target_prior),
        input,
        output,
        columns=columns,
        train=train,
        newsroom=newsroom,
        generation=generation,
        fairness=fairness,
        estimate_prior=target_prior == "estimate",
        overwrite=overwrite,
    )
    print_evaluation(evaluation, Console(width=None if os.isatty(1) else CONSOLE_WIDTH))
    print("written: " + ", ".join(str(path) for path in sorted(Path(output).iterdir())))
    return SOME_ROWS_BAD if evaluation.left_out else 0


def _load(model: str, device: str | None, target_prior: TargetPrior | None) -> HybridPipeline:
    pipeline = HybridPipeline.from_pretrained(model, device)
    return pipeline if target_prior is None else pipeline.aimed_at(target_prior)
