"""`unskew ablate`: its options, and what it prints. Parses nothing and loads no model before it must."""

import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..ablation import AblationSettings
from ..common import make_console, one_line, output_folder

SHOWN = {
    "macro_f1": "macro-F1",
    "balanced_accuracy": "balanced acc.",
    "recall_few": "recall, rare",
    "prior_pull": "prior pull",
    "nll": "NLL",
    "rougeL": "ROUGE-L",
    "topic_fit": "topic fit",
}


def command(settings: AblationSettings, output: str, workers: int | None = None, overwrite: bool = False) -> int:
    """Compare arms.

    Args:
        settings: Settings of the comparison.
        output: Folder for finished runs, checkpoints, results.json and the report. The same command resumes an
            interrupted ablation; finished runs are not repeated.
        workers: Number of seeds to run at the same time, on Ray (pip install "unskew[ray]"); unless given, seeds run
            here, one after the other.
        overwrite: Repeat finished runs.
    """
    from ..ablation import ablate as run
    from ..ablation import write_report

    folder = output_folder(output)
    results = run(settings, folder, command=" ".join(["unskew", *sys.argv[1:]]), rerun=overwrite, workers=workers)
    written = write_report(results, folder)
    _print(results, make_console())
    print("written: " + ", ".join(str(path) for path in (folder / "results.json", *written)))
    return 0


def _print(results: dict[str, Any], console: Console) -> None:
    table = Table(title=Text(one_line(results["title"])), title_justify="left")
    table.add_column("arm", no_wrap=True)
    for short in SHOWN.values():
        table.add_column(short, justify="right")
    for arm in results["arms"]:
        figures = [arm["mean"][name] for name in SHOWN]
        table.add_row(Text(one_line(arm["title"])), *("" if x is None else f"{x:.3f}" for x in figures))
    console.print(table)
    console.print(one_line(results["headline"]), markup=False)
    for terms in results["terms"]:
        console.print(one_line(terms), markup=False)
    for claim in results["claims"]:
        figure = f" ({claim['figure']})" if claim["figure"] else ""
        console.print(one_line(f"{claim['verdict']}: {claim['claim']}{figure}"), markup=False)
