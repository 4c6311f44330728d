"""Measures whether a system's outputs follow their topic: the right one, the encoder's, or a wrong one.

Knows the pipeline and metrics of texts, but no files.
"""

from collections.abc import Sequence
from typing import Any

from ..common import UserError
from ..corpus import Record
from ..decoder import GenerationSettings, ObedienceTrial, has_target, judge_of_records, log_probability_gap
from ..pipeline import HybridPipeline
from .text_metrics import score_texts

ROWS = 240  # number of texts to try, balanced over topics as far as possible
QUALITY = ("rougeL", "chrf", "exact", "slot_f1")

Measured = dict[str, dict[str, float]]


def obedience(
    pipeline: HybridPipeline,
    records: Sequence[Record],
    trained: Sequence[Record],
    generation: GenerationSettings | None = None,
    rows: int = ROWS,
) -> Measured:
    """Which topic outputs follow, and their quality, by the topic that the decoder was given.

    Args:
        pipeline: A system with a decoder.
        records: Rows with topics and targets, not trained on.
        trained: The training rows, whose targets teach the judge.
        generation: Settings of generation.
        rows: Largest number of texts to try, each also under three wrong topics.

    Returns:
        Metrics under "right", "decided" (the encoder's) and "wrong" topics. `topic_fit` is the share of outputs that
        read like the topic given, `true_fit` the share that read like the true topic. The others compare outputs with
        the targets of the right topic (see `score_texts`). Under "targets" are the same shares for the targets
        themselves, where `topic_fit` under wrong topics is what a decoder that ignores its topic would reach, and
        `gap`, in nats per token (see `log_probability_gap`).

    Raises:
        UserError: If there is no decoder, no target, or no other topic.
    """
    trial, taught = draw_trial(pipeline, records, trained, rows)
    assert pipeline.decoder is not None
    judge = judge_of_records(taught)
    wrong = [topic for _, topic in trial.tried]
    rows_of_wrong = [i for i, _ in trial.tried]
    kinds = {
        "right": (list(range(len(trial))), trial.right),
        "decided": (list(range(len(trial))), _decided(pipeline, trial.texts)),
        "wrong": (rows_of_wrong, wrong),
    }
    given = [(i, topic) for picked, its in kinds.values() for i, topic in zip(picked, its, strict=True)]
    asked = list(dict.fromkeys(given))
    written = pipeline.write([trial.texts[i] for i, _ in asked], [topic for _, topic in asked], generation)
    outputs = dict(zip(asked, written, strict=True))
    found: Measured = {}
    for kind, (picked, its) in kinds.items():
        own = [outputs[pair] for pair in zip(picked, its, strict=True)]
        found[kind] = _shares(judge, own, its, [trial.right[i] for i in picked])
        metrics = score_texts(own, [trial.targets[i] for i in picked])
        found[kind] |= {name: metrics[name] for name in QUALITY if name in metrics}
    targets = [trial.targets[i] for i in rows_of_wrong]
    found["targets"] = _shares(judge, targets, wrong, [trial.right[i] for i in rows_of_wrong])
    found["targets"] |= {"gap": log_probability_gap(pipeline.decoder, trial), "rows": float(len(trial))}
    return found


def draw_trial(
    pipeline: HybridPipeline, records: Sequence[Record], trained: Sequence[Record], rows: int = ROWS
) -> tuple[ObedienceTrial, list[Record]]:
    """The texts to try, and the training rows with targets; raises what `obedience` raises."""
    if pipeline.decoder is None:
        raise UserError("obedience needs outputs, but this bundle has no decoder; leave --obedience out")
    taught = [record for record in trained if has_target(record)]
    topics = sorted({str(record.topic) for record in taught} & set(pipeline.topics.names))
    trial = ObedienceTrial.sample(records, topics, rows)
    if not trial.tried:
        raise UserError(
            "obedience needs rows with targets of at least two topics, in the input and in the training set; give "
            "--train, and the column with --columns.target"
        )
    return trial, taught


def _decided(pipeline: HybridPipeline, texts: Sequence[str]) -> list[str]:
    return [pipeline.topics.names[i] for i in pipeline.probabilities(texts).argmax(-1).tolist()]


def _shares(judge: Any, outputs: Sequence[str], given: Sequence[str], true: Sequence[str]) -> dict[str, float]:
    return {"topic_fit": judge.fit_share(outputs, given), "true_fit": judge.fit_share(outputs, true)}
