"""Prints an audit: one line, two tables, and the rows left out. Knows metrics, runs nothing."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..common import METRIC_TITLES, one_line
from .audit_predictions import Audit, TopicSkew, most_skewed, share_text, verdict
from .labelled_predictions import PROBLEMS
from .tables import TOPIC_ROWS

ROWS = (*TOPIC_ROWS, "marginal_kl", "ece_many", "ece_medium", "ece_few")


def print_audit(audit: Audit, console: Console) -> None:
    """Print metrics with intervals, the most over- and under-predicted topics, rows left out, and the verdict."""
    console.print(_metric_rows(audit))
    if skewed := most_skewed(audit):
        console.print(_topics(skewed, audit.trained))
    for problem, rows in audit.problems.items():
        first = f" (the first: {audit.examples[problem]})" if problem in audit.examples else ""
        console.print(Text(one_line(f"{rows:,} {PROBLEMS[problem]}{first}")))
    if not audit.trained:
        console.print("left out without --train: prior pull, bands of recall and of calibration error, training shares")
    if "nll" not in audit.metrics:
        console.print("left out without probabilities (a column of {topic: probability}): NLL, calibration error")
    console.print(Text(one_line(verdict(audit)), style="bold"), soft_wrap=True)


def _metric_rows(audit: Audit) -> Table:
    table = Table(title=f"Skew of {audit.rows:,} predictions", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("95% interval", justify="right")
    for name in ROWS:
        value = audit.metrics.get(name)
        if value is not None:
            interval = audit.intervals.get(name)
            table.add_row(
                METRIC_TITLES[name],
                f"{value:.3f}",
                "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}",
            )
    return table


def _topics(topics: list[TopicSkew], trained: bool) -> Table:
    title = "Most over-predicted topics, then the most under-predicted, the worst last"
    table = Table(title=title, title_justify="left")
    table.add_column("topic", overflow="fold")
    shown = ["rows", "true share", "predicted share", "times", *(["training share"] if trained else []), "recall"]
    for name in shown:
        table.add_column(name, justify="right")
    for topic in topics:
        training = [] if topic.training_share is None else [share_text(topic.training_share)]
        recall = "" if topic.recall is None else f"{topic.recall:.3f}"
        style = "red" if topic.times < 1 else "yellow"
        shares = [share_text(topic.true_share), share_text(topic.predicted_share)]
        table.add_row(
            Text(one_line(topic.topic), style=style),
            f"{topic.rows:,}",
            *shares,
            f"{topic.times:.2f}",
            *training,
            recall,
        )
    return table
