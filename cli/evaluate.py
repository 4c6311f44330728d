"""`unskew evaluate`: its options, and what it prints. Parses nothing and loads no model before it must."""

from typing import Literal

from ..balance import DecisionSettings, TargetPrior
from ..common import EXIT_BAD_ROWS, make_console, output_folder, refuse_existing
from ..corpus import Columns
from ..decoder import GenerationSettings


def command(
    model: str,
    input: list[str] | str,
    output: str,
    columns: Columns = Columns(),  # noqa: B008 frozen
    train: list[str] | str | None = None,
    newsroom: str | None = None,
    generation: GenerationSettings = GenerationSettings(),  # noqa: B008 frozen
    fairness: bool = False,
    target_prior: TargetPrior | Literal["estimate"] | None = None,
    decision: DecisionSettings | None = None,
    obedience: bool = False,
    device: str | None = None,
    overwrite: bool = False,
) -> int:
    """Measure a system.

    Args:
        model: A bundle: a folder, or its id on the hub.
        input: Labelled rows.
        output: A folder for evaluation.json, predictions.jsonl and evaluation.png.
        columns: Names of the columns.
        train: The clean training set. Input rows with the same text are left out; its targets teach the judge of
            topic fit.
        newsroom: The newsroom.json of synthetic rows; adds the Bayes ceiling.
        generation: Settings of generation.
        fairness: Put the prior-suppression token before the topic.
        target_prior: Prior to predict for: uniform, train, shares by topic, or an estimate from the texts of these
            rows: adaptive (within what the training set makes likely) or estimate (from the texts alone); by default
            that of the bundle.
        decision: Decision rule that gives a row its topic, or none; by default that of the bundle.
        obedience: Also write some rows under wrong topics, and measure whether outputs follow the given topic;
            needs train.
        device: Device: cpu, cuda, cuda:1, ...; by default a GPU if there is one.
        overwrite: Replace an existing output.
    """
    from ..evaluation import RESULT, print_evaluation
    from ..evaluation import evaluate as run
    from ..pipeline import HybridPipeline

    refuse_existing(output_folder(output), overwrite, RESULT)
    pipeline = HybridPipeline.from_pretrained(model, device)
    asked = "adaptive" if target_prior is None and pipeline.adapts else target_prior
    if asked is not None and asked not in ("adaptive", "estimate"):
        pipeline = pipeline.with_target_prior(asked)
    if decision is not None:
        pipeline = pipeline.with_decision(decision)
    evaluation = run(
        pipeline,
        input,
        output,
        columns=columns,
        train=train,
        newsroom=newsroom,
        generation=generation,
        fairness=fairness,
        target_prior=asked if asked in ("adaptive", "estimate") else None,
        obedience=obedience,
        overwrite=overwrite,
    )
    print_evaluation(evaluation, make_console())
    print("written: " + ", ".join(str(path) for path in sorted(output_folder(output).iterdir())))
    return EXIT_BAD_ROWS if evaluation.left_out else 0
