"""The commands that need the models: their options, and what they print. Knows the pipeline; parses nothing."""

import os
from pathlib import Path

import transformers
from rich.console import Console

from ..balance.calibration import CalibrationKind
from ..corpus import Columns
from ..decoder import DecoderSettings, GenerationSettings
from ..encoder import EncoderSettings
from . import evaluating, fitting, predicting
from .hybrid import HybridPipeline
from .places import refuse_existing
from .settings import DataSettings, FitSettings, TargetPrior
from .tables import print_evaluation

CONSOLE_WIDTH = 120
SOME_ROWS_BAD = 3

transformers.utils.logging.disable_progress_bar()  # loading takes a moment; its bars would bury ours


def fit(
    data: DataSettings,
    output: str,
    encoder: EncoderSettings = EncoderSettings(),  # noqa: B008 frozen
    decoder: DecoderSettings | None = DecoderSettings(),  # noqa: B008 frozen
    calibration: CalibrationKind = "bias_corrected_temperature",
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
        target_prior: The prior to be right for: uniform, train, or shares by topic.
        seed: Of everything random.
        overwrite: Replace what stands there.
    """
    settings = FitSettings(data, encoder, decoder, calibration, target_prior, seed)
    fitting.fit(settings, output, overwrite=overwrite)
    return 0


def predict(
    model: str,
    input: list[str] | str,
    output: str,
    columns: Columns = Columns(),  # noqa: B008 frozen
    top_k: int = 5,
    generation: GenerationSettings = GenerationSettings(),  # noqa: B008 frozen
    fairness: bool = False,
    target_prior: TargetPrior | None = None,
    device: str | None = None,
    limit: int | None = None,
    overwrite: bool = False,
) -> int:
    """Predict a file.

    Args:
        model: A bundle: a folder, or its id on the hub.
        input: A file, glob or dataset id (or a list of them) with the texts.
        output: The JSON lines to write; rows that cannot be processed go to OUTPUT.errors.jsonl.
        columns: Which column holds what.
        top_k: How many topics to name with their probabilities.
        generation: How outputs are written.
        fairness: Put the prior-suppression token before the topic.
        target_prior: The prior to be right for: uniform, train, or shares by topic; the bundle's own unless given.
        device: cpu, cuda, cuda:1, ...; a GPU where there is one unless given.
        limit: Read only so many rows.
        overwrite: Replace what stands at output.
    """
    refuse_existing(Path(output), overwrite)
    summary = predicting.predict(
        _load(model, device, target_prior),
        input,
        output,
        columns=columns,
        top_k=top_k,
        generation=generation,
        fairness=fairness,
        limit=limit,
        overwrite=overwrite,
    )
    print(f"{output}: {summary}")
    return SOME_ROWS_BAD if summary.bad else 0


def evaluate(
    model: str,
    input: list[str] | str,
    output: str,
    columns: Columns = Columns(),  # noqa: B008 frozen
    train: list[str] | str | None = None,
    newsroom: str | None = None,
    generation: GenerationSettings = GenerationSettings(),  # noqa: B008 frozen
    fairness: bool = False,
    target_prior: TargetPrior | None = None,
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
        target_prior: The prior to be right for: uniform, train, or shares by topic; the bundle's own unless given.
        device: cpu, cuda, cuda:1, ...; a GPU where there is one unless given.
        overwrite: Replace what stands at output.
    """
    refuse_existing(Path(output), overwrite, evaluating.RESULT)
    evaluation = evaluating.evaluate(
        _load(model, device, target_prior),
        input,
        output,
        columns=columns,
        train=train,
        newsroom=newsroom,
        generation=generation,
        fairness=fairness,
        overwrite=overwrite,
    )
    print_evaluation(evaluation, Console(width=None if os.isatty(1) else CONSOLE_WIDTH))
    print("written: " + ", ".join(str(path) for path in sorted(Path(output).iterdir())))
    return SOME_ROWS_BAD if evaluation.left_out else 0


def _load(model: str, device: str | None, target_prior: TargetPrior | None) -> HybridPipeline:
    pipeline = HybridPipeline.from_pretrained(model, device)
    return pipeline if target_prior is None else pipeline.aimed_at(target_prior)
