"""The figures of one run: an arm with one seed. Knows decisions, outputs and metrics; trains nothing itself."""

from typing import Any

import torch
from torch import Tensor

from ..balance import confusion as counted
from ..balance import reliability, topic_metrics
from ..common import METRIC_TITLES
from ..decoder import FrameJudge, GenerationSettings, TopicDecoder, TopicJudge
from ..evaluation import score_texts
from .costs import Cost
from .data import TestRows
from .decide import TopicDecisions, choose
from .models import Fitted, FittedStages, cached
from .settings import ArmSettings

# Name: title, which way is better, group; in the order of the tables.
METRICS = {
    "macro_f1": (METRIC_TITLES["macro_f1"], "higher", "topics"),
    "accuracy": (METRIC_TITLES["accuracy"], "higher", "topics"),
    "balanced_accuracy": (METRIC_TITLES["balanced_accuracy"], "higher", "topics"),
    "worst_topic_recall": (METRIC_TITLES["worst_topic_recall"], "higher", "topics"),
    "recall_many": (METRIC_TITLES["recall_many"], "higher", "topics"),
    "recall_medium": (METRIC_TITLES["recall_medium"], "higher", "topics"),
    "recall_few": (METRIC_TITLES["recall_few"], "higher", "topics"),
    "prior_pull": (METRIC_TITLES["prior_pull"], "zero", "topics"),
    "errors_to_frequent": (METRIC_TITLES["errors_to_frequent"], "lower", "topics"),
    "marginal_kl": (METRIC_TITLES["marginal_kl"], "lower", "topics"),
    "nll": (METRIC_TITLES["nll"], "lower", "topics"),
    "ece": (METRIC_TITLES["ece"], "lower", "topics"),
    "ece_many": (METRIC_TITLES["ece_many"], "lower", "topics"),
    "ece_medium": (METRIC_TITLES["ece_medium"], "lower", "topics"),
    "ece_few": (METRIC_TITLES["ece_few"], "lower", "topics"),
    "free_invalid": ("free generation: no valid topic", "lower", "topics"),
    "free_macro_f1": ("free generation: macro-F1", "higher", "topics"),
    "rouge1": (METRIC_TITLES["rouge1"], "higher", "outputs"),
    "rouge2": (METRIC_TITLES["rouge2"], "higher", "outputs"),
    "rougeL": (METRIC_TITLES["rougeL"], "higher", "outputs"),
    "chrf": (METRIC_TITLES["chrf"], "higher", "outputs"),
    "exact": (METRIC_TITLES["exact"], "higher", "outputs"),
    "slot_f1": (METRIC_TITLES["slot_f1"], "higher", "outputs"),  # where all targets are slot frames
    "topic_fit": (METRIC_TITLES["topic_fit"], "higher", "outputs"),
    "true_fit": ("reads like the true topic", "higher", "outputs"),
    "trainable": ("trained parameters", "lower", "cost"),
    "clean_tokens": ("tokens seen in clean training", "lower", "cost"),
    "train_seconds": ("training, shared warm-ups included (s)", "lower", "cost"),
    "clean_seconds": ("clean training alone (s)", "lower", "cost"),
    "peak_memory": ("peak memory of training (MiB)", "lower", "cost"),
    "rows_per_second": ("inference, rows a second", "higher", "cost"),
}


def run_arm(arm: ArmSettings, stages: FittedStages, test: TestRows) -> dict[str, Any]:
    """Fit, decide, write and measure; returns plain values: `metrics`, `recall`, `shares`, `reliability`.

    For resampling it adds `decisions` (n,), `nll` (n,) and `confidence` (n,) or None, and `rows` {metric: value of each
    output}; for the check of equal terms, `outputs`, `start` and `order` of the clean phase.
    """
    choice = choose(arm, stages, test)
    outputs, seconds, writer = _write(arm, stages, test, choice)
    costs = dict(choice.costs)
    if writer is not None:
        costs |= {f"decoder, {phase}": cost for phase, cost in writer.costs.items()}
    metrics: dict[str, float | None] = dict.fromkeys(METRICS)
    metrics |= _topic_metrics(choice, test) | _costs(arm, costs, choice, writer)
    per_row = choice.seconds / len(test.records)
    rate = per_row + (seconds / len(outputs) if outputs else 0.0)
    metrics["rows_per_second"] = 1 / rate if rate and arm.decide not in ("bayes",) else None
    found, rows = _output_measures(outputs, test, choice.decisions, stages.judge) if outputs else ({}, {})
    clean = costs.get("decoder, clean", Cost())
    own = None if choice.probabilities is None else choice.probabilities.double()
    targets = torch.tensor(test.targets)
    return {
        "metrics": metrics | found,
        "recall": _recall(choice, test),
        "shares": _shares(choice.decisions, test),
        "reliability": [] if own is None else _reliability(own, targets),
        "decisions": choice.decisions.tolist(),
        "nll": None if own is None else _row_nll(own, targets),
        "confidence": None if own is None else [round(value, 6) for value in own.max(-1).values.tolist()],
        "outputs": outputs,
        "rows": rows,
        "start": clean.start,
        "order": clean.order,
    }


def _write(
    arm: ArmSettings, stages: FittedStages, test: TestRows, choice: TopicDecisions
) -> tuple[list[str], float, Fitted | None]:
    """Outputs for the rows that get one, the seconds they took, and the decoder that wrote them."""
    if not arm.write:
        return [], 0.0, None
    fitted = stages.decoder(arm)
    texts = [test.texts[i] for i in test.outputs]
    topics = [test.topics.names[choice.decisions[i]] for i in test.outputs]
    model: TopicDecoder = fitted.model
    options = GenerationSettings(guidance=arm.guidance)
    question = ("outputs", arm.fairness, arm.guidance, *topics)
    outputs, seconds = cached(fitted, question, lambda: model.generate(texts, topics, options, arm.fairness))
    return outputs, seconds, fitted


def _topic_metrics(choice: TopicDecisions, test: TestRows) -> dict[str, float | None]:
    if not choice.chosen:
        return {}
    targets, topics = torch.tensor(test.targets), len(test.topics)
    certain = torch.nn.functional.one_hot(choice.decisions, topics).double()
    found = topic_metrics(
        certain if choice.probabilities is None else choice.probabilities, targets, test.topics.counts
    )
    if choice.probabilities is None:
        found |= {name: None for name in found if name == "nll" or name.startswith("ece")}
    if choice.free:
        named = [topics if name is None else test.topics.index(name) for name in choice.free]
        rows = counted.confusion(torch.tensor(named), targets, topics, topics + 1)
        found["free_invalid"] = named.count(topics) / len(named)
        found["free_macro_f1"] = counted.f1(rows).nanmean().item()
    return found


def _costs(
    arm: ArmSettings, costs: dict[str, Cost], choice: TopicDecisions, writer: Fitted | None
) -> dict[str, float | None]:
    if not costs:
        return {}
    clean = [cost for phase, cost in costs.items() if phase.endswith((" clean", " head")) or phase == "svm"]
    memory = max(cost.memory for cost in costs.values())
    # A decoder that chooses and writes is one model; an encoder and the decoder behind it are two.
    second = writer.trainable if writer is not None and arm.decide != "decoder" else 0
    return {
        "trainable": choice.trainable + second,
        "clean_tokens": sum(cost.tokens for cost in clean) or None,
        "train_seconds": sum(cost.seconds for cost in costs.values()),
        "clean_seconds": sum(cost.seconds for cost in clean),
        "peak_memory": memory or None,
    }


def _output_measures(
    outputs: list[str], test: TestRows, decisions: Tensor, judge: TopicJudge | FrameJudge
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Metrics of all outputs together, and of each output."""
    records = [test.records[i] for i in test.outputs]
    given = [test.topics.names[decisions[i]] for i in test.outputs]
    rows = {
        "rougeL": [
            score_texts([output], [str(r.target)])["rougeL"] for output, r in zip(outputs, records, strict=True)
        ],
        "topic_fit": [judge.fit_share([output], [topic]) for output, topic in zip(outputs, given, strict=True)],
        "true_fit": [judge.fit_share([output], [str(r.topic)]) for output, r in zip(outputs, records, strict=True)],
    }
    found = score_texts(outputs, [str(record.target) for record in records])
    found |= {name: sum(rows[name]) / len(outputs) for name in ("topic_fit", "true_fit")}
    return found, rows


def _recall(choice: TopicDecisions, test: TestRows) -> dict[str, float | None]:
    if not choice.chosen:
        return dict.fromkeys(test.topics.names)
    rows = counted.confusion(choice.decisions, torch.tensor(test.targets), len(test.topics))
    values = counted.recall(rows).tolist()
    return {name: value if value == value else None for name, value in zip(test.topics.names, values, strict=True)}


def _shares(decisions: Tensor, test: TestRows) -> dict[str, float]:
    counts = torch.bincount(decisions, minlength=len(test.topics)).double()
    return dict(zip(test.topics.names, (counts / counts.sum()).tolist(), strict=True))


def _reliability(probabilities: Tensor, targets: Tensor) -> list[list[float]]:
    confidence, decided = probabilities.max(-1)
    return [list(point) for point in reliability(confidence, decided == targets)]


def _row_nll(probabilities: Tensor, targets: Tensor) -> list[float]:
    own = probabilities.gather(-1, targets[:, None])[:, 0].clamp(min=torch.finfo(torch.float32).tiny)
    return [round(value, 6) for value in (-own.log()).tolist()]
