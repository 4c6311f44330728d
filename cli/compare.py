"""`unskew compare RUN_A RUN_B`: its options, and what it prints. Parses nothing and measures nothing itself."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..ablation import SIGNIFICANT
from ..common import METRIC_TITLES, make_console, one_line
from ..evaluation import AuditColumns

if TYPE_CHECKING:
    from ..ablation import Comparison

POSITIONAL = ("run_a", "run_b")
MOST_TOPICS = 20


def command(
    run_a: str,
    run_b: str,
    labels: list[str] | str | None = None,
    train: list[str] | str | None = None,
    columns: AuditColumns = AuditColumns(),  # noqa: B008 frozen
    output: str | None = None,
    overwrite: bool = False,
) -> int:
    """Compare two runs.

    Args:
        run_a: A folder of `unskew evaluate`, or predictions as `unskew audit` reads them.
        run_b: Another system's run on the same rows, in either form.
        labels: Rows with an id and the true topic; needed if the predictions have no column true_topic.
        train: The training set of both, or a JSON object {topic: count}; adds bands and the prior pull.
        columns: Names of the columns, alike in both runs.
        output: A folder for comparison.html and comparison.json.
        overwrite: Replace an existing output.
    """
    from ..ablation import compare as run

    found = run(run_a, run_b, labels=labels, train=train, columns=columns, output=output, overwrite=overwrite)
    _print(found, make_console())
    return 0


def _print(found: "Comparison", console: Console) -> None:
    console.print(Text(one_line(f"a: {found.runs[0]}\nb: {found.runs[1]}")))
    table = Table(title=f"{found.rows:,} rows", title_justify="left")
    for name in ("", "a", "b", "b less a", "95% interval"):
        table.add_column(name, justify="right" if name else "left")
    for its in found.metrics:
        figures = (f"{its.a:.3f}", f"{its.b:.3f}", f"{its.difference:+.3f}")
        interval = f"{its.interval[0]:+.3f} to {its.interval[1]:+.3f}"
        table.add_row(METRIC_TITLES[its.name], *figures, interval, style="bold" if its.significant else "")
    console.print(table)
    table = Table(title="Recall by topic, the surest difference first", title_justify="left")
    for name in ("topic", "rows", "a", "b", "p, corrected"):
        table.add_column(name, justify="left" if name == "topic" else "right")
    for its in found.surest_topics[:MOST_TOPICS]:
        figures = (f"{its.rows:,}", f"{its.a:.3f}", f"{its.b:.3f}", f"{its.p:.3f}")
        table.add_row(Text(one_line(its.topic)), *figures, style="bold" if its.p < SIGNIFICANT else "")
    console.print(table)
    console.print(found.verdict)
