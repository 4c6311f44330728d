"""Prints a study as a table. Knows results and rich; decides nothing."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..common import one_line
from .results import StudyResult, TrialResult, short

MOST_SHOWN = 10


def print_study(found: StudyResult, console: Console) -> None:
    """Print the best trials, the default and the gain."""
    names = list(found.default.values)
    shown = sorted(found.trials, key=lambda trial: (trial.failure is not None, trial.loss))[:MOST_SHOWN]
    if found.default not in shown:
        shown.append(found.default)
    table = Table(title_justify="left")
    for name in ("trial", "log-loss", "gain (error)", *(name.removeprefix("encoder.") for name in names)):
        table.add_column(name)
    for trial in shown:
        cells = [f"{trial.number}{_mark(found, trial)}", *_figures(found, trial), *map(short, trial.values.values())]
        table.add_row(*(Text(one_line(cell)) for cell in cells))
    console.print(table)
    console.print(Text(str(found)))


def _mark(found: StudyResult, trial: TrialResult) -> str:
    marks = [name for name, one in (("default", found.default), ("kept", found.kept)) if one is trial]
    return f" ({', '.join(marks)})" if marks else ""


def _figures(found: StudyResult, trial: TrialResult) -> tuple[str, str]:
    if trial.failure is not None:
        return "failed", trial.failure
    gain, error = found.gain(trial)
    return f"{trial.loss:.4f}", f"{gain:+.4f} ({error:.4f})"
