"""The model card of a bundle: its purpose, its training data and its measured skew.

Knows the plain values in a bundle; knows no model.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..common import METRIC_TITLES, markdown_text
from ..corpus import Topics

_SHOWN = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "worst_topic_recall",
    "nll",
    "ece",
    "prior_pull",
    "errors_to_frequent",
    "errors_to_frequent_by_chance",
)


_MOST_SHOWN = 10  # topics of the example


@dataclass(frozen=True)
class Example:
    """A text with the probability of each topic by stage 1."""

    text: str
    probabilities: Mapping[str, float]


def model_card(
    corrector: Mapping[str, Any],
    description: Mapping[str, Any],
    metrics: Mapping[str, Any],
    example: Example | None = None,
) -> str:
    """The card as Markdown, with the metadata block that the hub reads; its page shows the example as a widget."""
    topics = Topics.from_dict(corrector["topics"])
    decoder = description.get("decoder_facts")
    writes = "writes an output conditioned on it" if decoder else "writes nothing: it was fitted without a decoder"
    lines = [
        "---",
        "library_name: unskew",
        "pipeline_tag: text-classification",
        "tags: [text-classification, text-generation, class-imbalance]",
        *(_widget(example) if example is not None else []),
        "---",
        "",
        "# A two-stage system fitted with unskew",
        "",
        f"Stage 1 names one of {len(topics)} topics; stage 2 {writes}.",
        "",
        "Intended use: texts of the kind it was fitted on, in any mixture of topics. The decision is made for the",
        "target prior below, not for the shares of the training set; give `--target_prior` where a job's shares are",
        "known. Not intended: topics outside the list (every text gets one of them), or decisions about people without",
        "review.",
        "",
        "```python",
        "from unskew.pipeline import HybridPipeline",
        "",
        'for result in HybridPipeline.from_pretrained("THIS FOLDER")(texts):',
        "    print(result.topic, result.confidence, result.output)",
        "```",
        "",
        *_metric_rows(metrics.get("validation", {})),
        *(
            [f"The figures above are for the most probable topic. Decision in use: {metrics['decision']}.", ""]
            if metrics.get("decision")
            else []
        ),
        "## Topics",
        "",
        "| topic | training rows | band | target prior | validation recall |",
        "|---|---|---|---|---|",
    ]
    recall = metrics.get("validation_recall", {})
    for name, count, band, share in zip(
        topics.names, topics.counts, topics.bands, corrector["target_prior"], strict=True
    ):
        known = "" if name not in recall or recall[name] is None else f"{recall[name]:.2f}"
        lines.append(f"| {markdown_text(name)} | {round(count, 2)} | {band} | {share:.4f} | {known} |")
    if decoder:
        facts = (f"- {markdown_text(name.replace('_', ' '))}: {markdown_text(str(it))}" for name, it in decoder.items())
        lines += ["", "## Decoder", "", *facts, *_obedience(metrics.get("obedience"))]
    return "\n".join(lines) + "\n"


def _widget(example: Example) -> list[str]:
    """YAML of an example with its answer, which the hub shows without running anything."""
    likeliest = sorted(example.probabilities.items(), key=lambda its: -its[1])[:_MOST_SHOWN]
    rows = [line for name, share in likeliest for line in (f"  - label: {_scalar(name)}", f"    score: {share:.2f}")]
    return ["widget:", f"- text: {_scalar(example.text)}", "  output:", *rows]


def _scalar(text: str) -> str:
    """A quoted YAML string, so that a name from data is never read as markup."""
    return json.dumps(text).replace("<", "\\u003c")


def _obedience(measured: Mapping[str, float] | None) -> list[str]:
    if not measured:
        return []
    followed = f"the right topic {measured['right']:.0%} (their targets {measured['targets']:.0%}), "
    followed += f"a wrong one {measured['wrong']:.0%} (the same targets {measured['ignoring']:.0%})"
    return [f"- obedience, outputs of {measured['rows']:.0f} held-out texts that followed: {followed}"]


def _metric_rows(metrics: Mapping[str, float | None]) -> list[str]:
    rows = [f"| {METRIC_TITLES[name]} | {metrics[name]:.3f} |" for name in _SHOWN if metrics.get(name) is not None]
    title = "## Measured on the held-out rows (those that chose the weights and the calibration)"
    return [title, "", "| | |", "|---|---|", *rows, ""] if rows else []
