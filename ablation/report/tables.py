"""The figures of an ablation as CSV for a spreadsheet, and as Markdown for a paper or README. Knows no files."""

import csv
import io
from typing import Any

from ...common import markdown_text, spreadsheet_text
from ..statistics import MIN_SEEDS
from .values import (
    Arm,
    Results,
    arms_not_run,
    arms_run,
    bounds,
    difference,
    fewest_runs,
    interval,
    marks,
    mean,
    measured,
    number,
    references,
    runs_with,
    standings,
)

TITLES = {"topics": "Topics", "outputs": "Outputs", "cost": "Cost"}


def as_csv(results: Results) -> str:
    """One row for each arm and metric: mean, interval, number of seeds, and differences to the reference arms."""
    file = io.StringIO()
    against = [reference["name"] for reference in references(results).values()]
    compared = ("difference", "low", "high", "p", "p_corrected")
    head = ["arm", "title", "group", "metric", "better", "mean", "low", "high", "seeds"]
    head += [f"{part}_against_{name}" for name in against for part in compared]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([spreadsheet_text(name) for name in head])
    for arm in arms_run(results):
        for name, metric in results["metrics"].items():
            low, high = interval(arm, name) or ("", "")
            row = [spreadsheet_text(arm[field]) for field in ("name", "title", "group")] + [name, metric["better"]]
            row += [_plain(mean(arm, name)), low, high, runs_with(arm, name)]
            for reference in references(results).values():
                row += _difference(arm, reference, name)
            writer.writerow(row)
    return file.getvalue()


def as_markdown(results: Results) -> str:
    """A table for each group of metrics; a clear best is bold, and letters mark significant differences."""
    parts = [f"# {markdown_text(results['title'])}", markdown_text(results["headline"])]
    parts += [markdown_text("; ".join(results.get("terms", ())))]
    for group, title in TITLES.items():
        names = measured(results, group)
        if names:
            parts += [f"## {title}", _table(results, names)]
    parts.append(_legend(results))
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(results: Results, names: list[str]) -> str:
    best = {name: standings(results, name) for name in names}
    lines = ["| arm | " + " | ".join(markdown_text(results["metrics"][name]["title"]) for name in names) + " |"]
    lines.append("|---|" + "---:|" * len(names))
    for arm in arms_run(results):
        cells = [_cell(results, arm, name, best[name].get(arm["name"], "")) for name in names]
        lines.append(f"| {markdown_text(arm['title'])}{_letter(results, arm)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(results: Results, arm: Arm, name: str, standing: str) -> str:
    figure = number(mean(arm, name))
    if standing == "best":
        figure = f"**{figure}**"
    told = "".join(mark.letter.lower() if mark.better else mark.letter for mark in marks(results, arm, name))
    figure += f"<sup>{told}</sup>" if told else ""
    return f"{figure} {bounds(interval(arm, name))}".rstrip()


def _letter(results: Results, arm: Arm) -> str:
    own = [letter for letter, reference in references(results).items() if reference["name"] == arm["name"]]
    return f" ({own[0]})" if own else ""


def _legend(results: Results) -> str:
    seeds, fewest = len(results["seeds"]), fewest_runs(results)
    over = f"{seeds}" if fewest == seeds else f"{fewest} to {seeds}"
    lines = [
        f"Mean over {over} seeds [95% interval]." if seeds > 1 else "One seed [95% interval over test rows, if any]."
    ]
    if fewest < MIN_SEEDS:
        lines.append(f"With fewer than {MIN_SEEDS} seeds no difference is judged.")
        return " ".join([*lines, *_not_run(results)])
    lines.append("Bold: best, and its interval overlaps no other.")
    for letter, reference in references(results).items():
        title = markdown_text(reference["title"])
        said = f"<sup>{letter.lower()}</sup> better, <sup>{letter}</sup> worse than {letter}, {title}"
        lines.append(f"{said} (p < 0.05, corrected).")
    return " ".join([*lines, *_not_run(results)])


def _not_run(results: Results) -> list[str]:
    absent = arms_not_run(results)
    return ["Not run: " + ", ".join(markdown_text(arm["title"]) for arm in absent) + "."] if absent else []


def _difference(arm: Arm, reference: Arm, name: str) -> list[Any]:
    found = difference(arm, reference, name)
    if found is None or arm["name"] == reference["name"]:
        return [""] * 5
    low, high = found.get("interval") or (None, None)
    return [_plain(value) for value in (found["difference"], low, high, found.get("p"), found.get("p_corrected"))]


def _plain(value: float | None) -> float | str:
    return "" if value is None else value
