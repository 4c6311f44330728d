"""`unskew ablate`: its options, and what it prints. Parses nothing and loads no model before it must."""

import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..ablation import AblationSettings, ArmSettings
from ..common import UserError, make_console, one_line, output_folder
from ..decoder import DecoderSettings
from ..encoder import EncoderSettings
from ..pipeline import DataSettings

SHOWN = {
    "macro_f1": "macro-F1",
    "balanced_accuracy": "balanced acc.",
    "recall_few": "recall, rare",
    "prior_pull": "prior pull",
    "nll": "NLL",
    "rougeL": "ROUGE-L",
    "topic_fit": "topic fit",
}


def command(
    data: DataSettings,
    test: str,
    output: str,
    definitions: dict[str, ArmSettings],
    encoder: EncoderSettings = EncoderSettings(),  # noqa: B008 frozen
    decoder: DecoderSettings = DecoderSettings(),  # noqa: B008 frozen
    arms: list[str] | str | None = None,
    seeds: list[int] | int | str = "0,1,2,3,4",
    budget: float = 1.0,
    newsroom: str | None = None,
    outputs: int = 240,
    test_rows: int | None = None,
    baseline: str | None = None,
    recommended: str = "decoder_recommended",
    title: str = "Hybrid against decoder-only",
    workers: int | None = None,
    overwrite: bool = False,
) -> int:
    """Compare arms.

    Args:
        data: The sets; each seed holds out validation rows of its own.
        test: Labelled rows that nothing is trained or chosen on.
        output: A folder: finished runs, checkpoints, results.json and the report. The same command goes on where an
            earlier one stopped; finished runs are not done again.
        definitions: The arms by name, each a few settings over the shared ones; best given in a config.
        encoder: Stage 1, shared by the arms that have one.
        decoder: Stage 2, shared by the arms that have one.
        arms: Which of the definitions to run, as a,b,c; all unless given.
        seeds: Of splits, weights and order, as 0,1,2; each arm runs once with each. With fewer than five, runs are
            described and not judged.
        budget: Share of the clean rows of each topic, validation rows included, and of the noisy rows: 0.1 for a quick
            look.
        newsroom: The newsroom.json beside synthetic rows: adds the Bayes ceiling.
        outputs: Test rows, each topic in proportion, for which outputs are written; topics are measured on all.
        test_rows: At most so many test rows, each topic in proportion; all unless given.
        baseline: The arm that the others are compared with; unless given, the one whose role is baseline.
        recommended: The second such arm.
        title: Of the report.
        workers: So many seeds at a time, on Ray (pip install "unskew[ray]"); here, one after the other, unless given.
        overwrite: Do finished runs again.
    """
    from ..ablation import ablate as run
    from ..ablation import write_report

    settings = AblationSettings(
        data=data,
        test=test,
        arms=_selected(definitions, arms),
        encoder=encoder,
        decoder=decoder,
        seeds=_numbers(seeds),
        newsroom=newsroom,
        outputs=outputs,
        budget=budget,
        test_rows=test_rows,
        baseline=baseline,
        recommended=recommended,
        title=title,
    )
    folder = output_folder(output)
    results = run(settings, folder, command=" ".join(["unskew", *sys.argv[1:]]), anew=overwrite, workers=workers)
    written = write_report(results, folder)
    _print(results, make_console())
    print("written: " + ", ".join(str(path) for path in (folder / "results.json", *written)))
    return 0


def _selected(definitions: dict[str, ArmSettings], arms: list[str] | str | None) -> dict[str, ArmSettings]:
    """The definitions asked for, in their own order."""
    if arms is None:
        return definitions
    names = [name.strip() for name in arms.split(",")] if isinstance(arms, str) else arms
    if unknown := [name for name in names if name not in definitions]:
        raise UserError(f"arms: there is no {unknown[0]!r}; there are {', '.join(definitions)}")
    return {name: arm for name, arm in definitions.items() if name in names}


def _numbers(seeds: list[int] | tuple[int, ...] | int | str) -> tuple[int, ...]:
    given = str(seeds).split(",") if isinstance(seeds, int | str) else seeds
    try:
        return tuple(int(seed) for seed in given)
    except ValueError:
        raise UserError(f"seeds are {seeds!r}; give whole numbers, as 0,1,2") from None


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
