"""Measures a fitted system on labelled rows: topics against the true topics, outputs against the targets.

Knows the pipeline, files and metrics, and for newsroom rows the Bayes ceiling.
"""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from ..balance import target_of_rows, topic_metrics, topic_recall
from ..common import (
    UserError,
    check_settings,
    check_writable,
    output_folder,
    refuse_existing,
    replacing_folder,
    show_progress,
    track,
    write_jsonl,
    write_text,
)
from ..corpus import Columns, Record, Source, Topics, check_known_topics, overlapping
from ..decoder import GenerationSettings, has_target, judge_of_records
from ..pipeline import HybridPipeline, PredictOptions, Result, load_labelled
from .bayes import bayes_posterior
from .obedience import draw_trial
from .obedience import obedience as measure_obedience
from .text_metrics import score_texts

log = logging.getLogger("unskew")

RESULT = "evaluation.json"
VIEWS: tuple[Literal["uniform", "train"], ...] = ("uniform", "train")
FORMAT = 1
TOP_K = 5  # topics of a row in predictions.jsonl, beside the decided and the true one


@dataclass
class Evaluation:
    """The result of an evaluation.

    Attributes:
        rows: Number of rows measured.
        left_out: Number of rows without a text or a topic, which could not be measured.
        topics: Metrics of the decided topics, without undecided rows, see `unskew.balance.topic_metrics`.
        recall: Recall by topic; None without rows.
        outputs: Metrics of the outputs; empty without a decoder or targets.
        ceiling: The metrics of `topics` for the Bayes-optimal classifier; empty if it is not known.
        examples: A few rows with their outputs, rare topics first.
        target_prior: The target prior of the decisions: shares by topic.
        target_intervals: About 95% intervals of these shares; empty without held-out rows, or if the prior was given.
        repeated: Number of rows left out because their text is in the training set.
        undecided: Share of the rows of each topic that stayed undecided, if the system leaves any.
        obedience: Whether outputs follow the given topic, see `obedience`; empty if not requested.
        views: The metrics of `topics` for the most probable topics under other priors, by name: "uniform" and "train".
    """

    rows: int
    left_out: int
    topics: dict[str, float | None]
    recall: dict[str, float | None]
    outputs: dict[str, float] = field(default_factory=dict)
    ceiling: dict[str, float | None] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)
    target_prior: dict[str, float] = field(default_factory=dict)
    repeated: int = 0
    undecided: dict[str, float | None] = field(default_factory=dict)
    obedience: dict[str, dict[str, float]] = field(default_factory=dict)
    views: dict[str, dict[str, float | None]] = field(default_factory=dict)
    target_intervals: dict[str, tuple[float, float]] = field(default_factory=dict)


def evaluate(
    pipeline: HybridPipeline,
    source: Source,
    output: str | Path,
    *,
    columns: Columns | None = None,
    train: Source | None = None,
    newsroom: str | Path | None = None,
    generation: GenerationSettings | None = None,
    fairness: bool = False,
    target_prior: Literal["adaptive", "estimate"] | None = None,
    obedience: bool = False,
    overwrite: bool = False,
) -> Evaluation:
    """Measure `pipeline` on the labelled rows of `source`; write figures, predictions and pictures to `output`.

    Args:
        pipeline: The system.
        source: Rows with topics; to measure outputs, also with targets.
        output: A folder for evaluation.json, predictions.jsonl and, if matplotlib is installed, evaluation.png. A
            prediction has the probabilities of its most probable topics and of its true one.
        columns: Names of the columns.
        train: The clean training set. Rows with the same text are left out, and its targets teach the judge of whether
            an output fits its topic.
        newsroom: The newsroom.json beside synthetic rows; adds the Bayes ceiling.
        generation: Settings of generation.
        fairness: Whether `<force_fairness>` precedes the topic.
        target_prior: Estimator of the target prior from the texts of `source`, as in a job: "adaptive" (within what the
            training set makes likely) or "estimate" (from the texts alone). None keeps the pipeline's own.
        obedience: Whether to write some rows also under wrong topics, and measure whether outputs follow the given
            topic; needs `train`.
        overwrite: Whether `output` may be replaced.

    Raises:
        UserError: If a topic is unseen in training, every text is in `train`, over a tenth of the rows are unusable,
            the target prior cannot be estimated, obedience cannot be measured, or the decoder was not trained for the
            requested guidance or fairness.
    """
    output = output_folder(output)
    refuse_existing(output, overwrite, RESULT)
    check_writable(output.parent)
    options = PredictOptions(top_k=TOP_K, generation=generation, fairness=fairness)
    pipeline.check_options(options)
    columns = columns or Columns()
    check_settings("columns", columns, Columns)
    records, bad = load_labelled(source, columns)
    check_known_topics(records, pipeline.topics, str(source))
    trained = load_labelled(train, columns)[0] if train is not None else []
    records, repeated = _without_repeated(records, trained, str(source), str(train))
    if obedience:
        draw_trial(pipeline, records, trained)  # refused before anything is predicted
    texts = [record.text for record in records]
    targets = torch.tensor(pipeline.topics.encode(str(record.topic) for record in records))
    logits, spent = _logits(pipeline, texts)
    intervals: dict[str, tuple[float, float]] = {}
    if target_prior is not None:
        taken = target_of_rows(target_prior, pipeline.corrector, logits)
        log.info("%s", taken)
        pipeline = pipeline.with_target_prior(taken.shares)
        intervals = dict(zip(taken.topics.names, taken.intervals, strict=False))
    best = None
    if newsroom is not None:
        best = bayes_posterior(newsroom, texts, pipeline.topics.names, pipeline.corrector.target)
    results = list(track(pipeline.results(texts, logits, options), "evaluate", len(texts), spent))
    probabilities = pipeline.corrector(logits)
    decided = pipeline.corrector.decision.decision(probabilities)
    evaluation = Evaluation(
        len(records),
        len(bad),
        topic_metrics(probabilities, targets, pipeline.topics.counts, decided),
        _by_topic(topic_recall(probabilities, targets, decided), pipeline.topics),
        target_prior=dict(zip(pipeline.topics.names, pipeline.corrector.target, strict=True)),
        repeated=repeated,
        undecided=_undecided(decided, targets, pipeline.topics),
        views={
            prior: topic_metrics(pipeline.corrector.with_target_prior(prior)(logits), targets, pipeline.topics.counts)
            for prior in VIEWS
        },
        target_intervals=intervals,
    )
    own = probabilities.gather(-1, targets[:, None])[:, 0].tolist()
    rows = [_row(record, result, share) for record, result, share in zip(records, results, own, strict=True)]
    evaluation.outputs = _outputs(rows, trained)
    evaluation.examples = _examples(rows, pipeline.topics)
    if obedience:
        evaluation.obedience = measure_obedience(pipeline, records, trained, generation)
    if best is not None:
        evaluation.ceiling = topic_metrics(best, targets, pipeline.topics.counts)
    with replacing_folder(output) as place:
        stored = {"format": FORMAT, **vars(evaluation)}
        write_text(place / RESULT, json.dumps(stored, indent=2, ensure_ascii=False) + "\n")
        write_jsonl(place / "predictions.jsonl", rows)
        _draw(place / "evaluation.png", probabilities, targets, pipeline.topics, decided)
    return evaluation


def _logits(pipeline: HybridPipeline, texts: Sequence[str]) -> tuple[torch.Tensor, float]:
    """Logits (n, C) of the texts, and the seconds that each of them took."""
    start = time.perf_counter()
    with show_progress("auto", "stage 1", len(texts)) as tell:
        logits = pipeline.encoder.logits(texts, progress=lambda done: tell(done, 0))
    return logits, (time.perf_counter() - start) / max(1, len(texts))


def _without_repeated(
    records: list[Record], trained: Sequence[Record], source: str, train: str
) -> tuple[list[Record], int]:
    """The records whose text is not in the training set, and the number of the others."""
    repeated = {id(record) for record in overlapping(records, trained)}
    if not repeated:
        return records, 0
    if len(repeated) == len(records):
        raise UserError(f"every text of {source} is also in {train}, so no row is left to measure; give other rows")
    example = next(record.id for record in records if id(record) in repeated)
    log.warning(
        "%s: %d of %d rows are left out because their text is also in %s (the first: id %r)",
        source, len(repeated), len(records), train, example,
    )  # fmt: skip
    return [record for record in records if id(record) not in repeated], len(repeated)


def _row(record: Record, result: Result, own: float) -> dict[str, Any]:
    """A row of predictions.jsonl, with all probabilities that `audit` and `compare` measure; `own` is the true topic's.

    All of thousands of topics, for every row, would take most of an evaluation's memory and time.
    """
    shares = dict(result.topics)
    shares.setdefault(str(record.topic), own)
    if result.topic is not None:
        shares.setdefault(result.topic, result.confidence)
    ordered = dict(sorted(shares.items(), key=lambda share: -share[1]))
    plain = {**result.to_dict(), "topics": ordered}
    return {"id": record.id, "true_topic": record.topic, "target": record.target, **plain}


def _by_topic(values: torch.Tensor, topics: Topics) -> dict[str, float | None]:
    return {name: value if value == value else None for name, value in zip(topics.names, values.tolist(), strict=True)}


def _undecided(decided: torch.Tensor, targets: torch.Tensor, topics: Topics) -> dict[str, float | None]:
    none = decided < 0
    if not none.any():
        return {}
    rows = torch.bincount(targets, minlength=len(topics))
    return _by_topic(torch.bincount(targets[none], minlength=len(topics)) / rows, topics)


def _outputs(rows: Sequence[dict[str, Any]], trained: Sequence[Record]) -> dict[str, float]:
    written = [row for row in rows if row["output"] is not None and row["target"]]
    if not written:
        return {}
    outputs = [row["output"] for row in written]
    metrics = score_texts(outputs, [row["target"] for row in written])
    taught = [record for record in trained if has_target(record)]
    if len({record.topic for record in taught}) > 1:
        judge = judge_of_records(taught)
        metrics["topic_fit"] = judge.fit_share(outputs, [row["topic"] for row in written])
        metrics["topic_fit_of_targets"] = judge.fit_share(
            [row["target"] for row in written], [row["true_topic"] for row in written]
        )
    return metrics


def _examples(rows: Sequence[dict[str, Any]], topics: Topics, most: int = 6) -> list[dict[str, Any]]:
    """The first row of each topic, rarest topic first."""
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        first.setdefault(row["true_topic"], row)
    shown = ("true_topic", "topic", "confidence", "target", "output")
    rare = sorted(first.values(), key=lambda row: topics.counts[topics.index(row["true_topic"])])
    return [{name: row[name] for name in shown} for row in rare[:most]]


def _draw(
    path: Path, probabilities: torch.Tensor, targets: torch.Tensor, topics: Topics, decided: torch.Tensor
) -> None:
    try:
        from .plots import draw_evaluation
    except ImportError:
        log.info("no pictures: install them with `pip install unskew[plots]`")
        return
    draw_evaluation(path, probabilities, targets, topics, decided)
