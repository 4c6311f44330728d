"""The commands themselves: their options, and what they print. Knows the pipeline's functions; parses nothing."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jsonargparse import ActionYesNo, ArgumentParser
from rich.console import Console

from ..corpus import Columns
from ..corpus.newsroom_files import write_newsroom
from ..decoder import GenerationSettings
from . import evaluating, fitting, predicting
from .cli import SOME_ROWS_BAD
from .hybrid import HybridPipeline
from .settings import FitSettings, TargetPrior
from .tables import print_evaluation

CONSOLE_WIDTH = 120


def fit(settings: FitSettings, output: str, overwrite: bool) -> int:
    """Fit a system and write its bundle to the folder `output`."""
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
    fitting.refuse_existing(Path(output), overwrite)
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
    fitting.refuse_existing(Path(output), overwrite)
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
    print(f"written: {output}/evaluation.json, predictions.jsonl, evaluation.png")
    return 0


def newsroom(output: str, difficulty: float = 0.5, seed: int = 0, overwrite: bool = False) -> int:
    """Make the synthetic corpus.

    Args:
        output: The folder to write.
        difficulty: 0 to 1: how much the topics' vocabularies overlap.
        seed: Of everything random.
        overwrite: Replace what stands there.
    """
    fitting.refuse_existing(Path(output), overwrite)
    write_newsroom(output, difficulty=difficulty, seed=seed)
    print(f"written: {output}/train.jsonl, noisy.jsonl, test.jsonl, test_natural.jsonl, newsroom.json")
    return 0


_FUNCTIONS: dict[str, Callable[..., int]] = {
    "predict": predict,
    "evaluate": evaluate,
    "newsroom": newsroom,
}


def make_parser(command: str, description: str) -> ArgumentParser:
    """The options of one command, read off its function; `--config FILE` gives them as YAML."""
    parser = ArgumentParser(prog=f"unskew {command}", description=f"{description[0].upper()}{description[1:]}.")
    parser.add_argument("--config", action="config", help="A YAML file of these options; later options win.")
    if command == "fit":
        parser.add_class_arguments(FitSettings)
        parser.add_argument("--output", type=str, required=True, help="The bundle's folder.")
    else:
        parser.add_function_arguments(_FUNCTIONS[command], skip={"overwrite"})
    overwrite = ActionYesNo(yes_prefix="", no_prefix="no-")
    parser.add_argument("--overwrite", action=overwrite, help="Replace what stands at output.")
    return parser


def run(command: str, given: dict[str, Any]) -> int:
    """Call a command with its parsed options; returns the exit code."""
    given = {name: value for name, value in given.items() if name != "config"}
    if command == "fit":
        output, overwrite = given.pop("output"), given.pop("overwrite")
        return fit(FitSettings(**given), output, overwrite)
    return _FUNCTIONS[command](**given)


def _load(model: str, device: str | None, target_prior: TargetPrior | None) -> HybridPipeline:
    pipeline = HybridPipeline.from_pretrained(model, device)
    return pipeline if target_prior is None else pipeline.aimed_at(target_prior)
