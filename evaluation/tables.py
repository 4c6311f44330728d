"""Prints an evaluation as short tables on the terminal. Knows metrics, runs nothing."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..common import METRIC_TITLES, printable

if TYPE_CHECKING:  # it loads the models' libraries, which an audit does not need
    from .evaluate_system import Evaluation

TOPIC_ROWS = (
    "undecided",
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "worst_topic_recall",
    "recall_many",
    "recall_medium",
    "recall_few",
    "nll",
    "ece",
    "prior_pull",
    "errors_to_frequent",
    "errors_to_frequent_by_chance",
)
OUTPUT_ROWS = ("rouge1", "rouge2", "rougeL", "chrf", "exact", "slot_f1", "topic_fit")
OBEDIENCE_ROWS = ("topic_fit", "true_fit", "rougeL", "chrf", "exact", "slot_f1")
KINDS = {"right": "right topic", "decided": "the encoder's", "wrong": "wrong topics", "targets": "wrong, ignored"}


def print_evaluation(evaluation: "Evaluation", console: Console) -> None:
    """Print topics (beside the Bayes ceiling, if it is known), outputs, and a few examples."""
    console.print(_topics(evaluation))
    if evaluation.outputs:
        console.print(_outputs(evaluation))
    if evaluation.obedience:
        console.print(_obedience(evaluation.obedience))
    if any(example["output"] for example in evaluation.examples):
        console.print(_examples(evaluation))


def _topics(evaluation: "Evaluation") -> Table:
    left_out = _left_out(evaluation.left_out, evaluation.repeated)
    table = Table(title=f"Topics of {evaluation.rows:,} rows{left_out}", title_justify="left")
    table.add_column("")
    table.add_column("unskew", justify="right")
    beside = {f"target prior {prior}": view for prior, view in evaluation.views.items()}
    beside |= {"Bayes ceiling": evaluation.ceiling} if evaluation.ceiling else {}
    for title in beside:
        table.add_column(title, justify="right")
    for name in TOPIC_ROWS:
        if evaluation.topics.get(name) is not None and (name != "undecided" or evaluation.undecided):
            others = [_figure(metrics.get(name)) for metrics in beside.values()]
            table.add_row(METRIC_TITLES[name], _figure(evaluation.topics[name]), *others)
    return table


def _outputs(evaluation: "Evaluation") -> Table:
    table = Table(title="Outputs against their targets", title_justify="left")
    table.add_column("")
    table.add_column("unskew", justify="right")
    for name in OUTPUT_ROWS:
        if name in evaluation.outputs:
            table.add_row(METRIC_TITLES[name], _figure(evaluation.outputs[name]))
    return table


def _obedience(measured: Mapping[str, Mapping[str, float]]) -> Table:
    rows, gap = measured["targets"]["rows"], measured["targets"]["gap"]
    title = f"Obedience, {rows:.0f} texts; a target's token is {gap:+.3f} nats likelier under the right topic"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for kind in KINDS.values():
        table.add_column(kind, justify="right")
    for name in OBEDIENCE_ROWS:
        if name in measured["right"]:
            table.add_row(METRIC_TITLES[name], *(_figure(measured[kind].get(name)) for kind in KINDS))
    return table


def _examples(evaluation: "Evaluation") -> Table:
    table = Table(title="Examples, rarest topics first", title_justify="left", show_lines=True)
    for title in ("topic", "decided", "target", "output"):
        table.add_column(title, overflow="fold")
    for example in evaluation.examples:
        right = example["topic"] == example["true_topic"]
        topic = printable(str(example["topic"] or "undecided"))
        decided = Text(f"{topic} ({example['confidence']:.2f})", style="green" if right else "red")
        # Text and not markup, because an output may contain brackets.
        table.add_row(
            Text(printable(example["true_topic"])),
            decided,
            *(Text(printable(example[name] or "")) for name in ("target", "output")),
        )
    return table


def _left_out(unusable: int, repeated: int) -> str:
    counts = ((unusable, "unusable"), (repeated, "also in the training set"))
    said = ", ".join(f"{rows:,} {why}" for rows, why in counts if rows)
    return f" (left out: {said})" if said else ""


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
