"""What a person reads at the end of an audit: one line, two tables, what was left out. Knows measures, runs nothing."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .auditing import Audit, TopicSkew
from .joining import PROBLEMS
from .tables import TOPIC_ROWS

ROWS = {
    **TOPIC_ROWS,
    "marginal_kl": "KL of true from predicted shares (nats)",
    "ece_many": "calibration error, decided topics of over 100 rows",
    "ece_medium": "calibration error, decided topics of 20 to 100",
    "ece_few": "calibration error, decided topics of under 20",
}
MOST_TOPICS = 5  # at each end
NEAR = 1.1  # times: a topic predicted this much too often or too rarely is not worth a line


def print_audit(audit: Audit, console: Console) -> None:
    """Measures with their intervals, the most over- and under-predicted topics, what was left out, and the verdict."""
    console.print(_measures(audit))
    if skewed := most_skewed(audit):
        console.print(_topics(skewed, audit.trained))
    for problem, rows in audit.problems.items():
        first = f" (the first: {audit.examples[problem]})" if problem in audit.examples else ""
        console.print(Text(f"{rows:,} {PROBLEMS[problem]}{first}"))
    if not audit.trained:
        console.print("left out without --train: prior pull, bands of recall and of calibration error, training shares")
    if "nll" not in audit.measures:
        console.print("left out without probabilities (a column of {topic: probability}): NLL, calibration error")
    console.print(Text(verdict(audit), style="bold"), soft_wrap=True)


def verdict(audit: Audit) -> str:
    """One plain sentence: how skewed, how sure, and whom it hits."""
    pull, interval = audit.measures.get("prior_pull"), audit.intervals.get("prior_pull")
    skewed = most_skewed(audit)
    rare = next((topic for topic in reversed(skewed) if topic.times < 1), None)
    hit = "" if rare is None else f"; {rare.topic!r} suffers most: {_share(rare.true_share)} of the rows, "
    hit += "" if rare is None else f"{_share(rare.predicted_share)} of the predictions"
    if not audit.trained:
        divergence = audit.measures["marginal_kl"]
        return f"predicted shares are {divergence:.3f} nats from the true ones{hit}; --train says what pulls them"
    if pull is None or interval is None:
        return f"true and training shares are nearly the same, so nothing can be pulled toward the latter{hit}"
    sure = f"95% interval {interval[0]:.2f} to {interval[1]:.2f}"
    if interval[0] <= 0 <= interval[1]:
        return (
            f"no pull of the predictions toward the training shares can be told from chance: {pull:.2f} ({sure}){hit}"
        )
    if pull < 0:
        return f"predictions lean away from the training shares: prior pull {pull:.2f} ({sure}){hit}"
    return f"predictions are dragged {pull:.2f} of the way toward the training shares ({sure}){hit}"


def most_skewed(audit: Audit) -> list[TopicSkew]:
    """The topics predicted too often by the largest factors, then those too rarely, the worst last."""
    ordered = sorted(audit.topics, key=lambda topic: -topic.times)
    over = [topic for topic in ordered if topic.times > NEAR][:MOST_TOPICS]
    return over + [topic for topic in ordered if topic.times < 1 / NEAR][-MOST_TOPICS:]


def _measures(audit: Audit) -> Table:
    table = Table(title=f"Skew of {audit.rows:,} predictions", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("95% interval", justify="right")
    for name, title in ROWS.items():
        value = audit.measures.get(name)
        if value is not None:
            interval = audit.intervals.get(name)
            table.add_row(title, f"{value:.3f}", "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}")
    return table


def _topics(topics: list[TopicSkew], trained: bool) -> Table:
    title = "Most over-predicted topics, then the most under-predicted, the worst last"
    table = Table(title=title, title_justify="left")
    table.add_column("topic", overflow="fold")
    shown = ["rows", "true share", "predicted share", "times", *(["training share"] if trained else []), "recall"]
    for name in shown:
        table.add_column(name, justify="right")
    for topic in topics:
        training = [] if topic.training_share is None else [_share(topic.training_share)]
        recall = "" if topic.recall is None else f"{topic.recall:.3f}"
        style = "red" if topic.times < 1 else "yellow"
        shares = [_share(topic.true_share), _share(topic.predicted_share)]
        table.add_row(
            Text(topic.topic, style=style), f"{topic.rows:,}", *shares, f"{topic.times:.2f}", *training, recall
        )
    return table


def _share(value: float) -> str:
    return f"{value:.1%}" if value >= 0.001 or value == 0 else f"{value:.2%}"
