"""The page of a report: the values of its template. Knows figures and the template, but no files of the user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...common import render_page
from ..settings import SIGNIFICANT
from ..statistics import MIN_SEEDS
from .tables import TITLES
from .values import (
    GROUPS,
    Arm,
    Mark,
    Results,
    Standing,
    arms_not_run,
    arms_run,
    bounds,
    fewest_runs,
    interval,
    key_arms,
    marks,
    mean,
    measured,
    number,
    references,
    standings,
)

TEMPLATES = Path(__file__).with_name("templates")
MOST_ANSWERS = 6  # outputs of an example to show before the others are folded away
VERDICTS = {
    "holds": "good",
    "holds partly": "partly",
    "does not hold here": "bad",
    "not measured": "none",
    "not judged": "none",
}


@dataclass(frozen=True)
class Cell:
    """A cell of the table of arms."""

    group: str
    text: str
    ends: str
    sort: float | None
    standing: Standing
    marks: Sequence[Mark]


def render_report(results: Results) -> str:
    """The whole page as HTML; without pictures if matplotlib is not installed."""
    table = _table(results)
    return render_page(
        TEMPLATES / "report.html.j2",
        style=_asset("report.css"),
        script=_asset("report.js"),
        results=results,
        columns=_columns(results),
        table=table,
        any_marks=any(cell.marks for row in table for cell in row["cells"]),
        groups=GROUPS,
        metric_groups={group: title for group, title in TITLES.items() if measured(results, group)},
        references=references(results),
        not_run=arms_not_run(results),
        short_of_seeds=[arm for arm in arms_run(results) if 1 < len(results["seeds"]) > len(_seeds(arm)) > 0],
        has_intervals=any(interval(arm, results["primary"]) for arm in arms_run(results)),
        significant=SIGNIFICANT,
        judged=fewest_runs(results) >= MIN_SEEDS,
        min_seeds=MIN_SEEDS,
        verdicts=VERDICTS,
        examples=_examples(results),
        titles={arm["name"]: arm["title"] for arm in results["arms"]},
        pictures=_pictures(results),
        number=number,
    )


def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text("utf-8")


def _columns(results: Results) -> list[dict[str, Any]]:
    """The metrics of the table by group, each with the sort order that shows the best first."""
    return [
        {"name": name, "group": group, "title": results["metrics"][name]["title"], **_direction(results, name)}
        for group in TITLES
        for name in measured(results, group)
    ]


def _direction(results: Results, name: str) -> dict[str, str]:
    better = results["metrics"][name]["better"]
    arrow = {"higher": "↑", "lower": "↓", "zero": "→0"}[better]
    words = {"higher": "higher is better", "lower": "lower is better", "zero": "nearer to zero is better"}[better]
    return {"better": better, "arrow": arrow, "words": words}


def _table(results: Results) -> list[dict[str, Any]]:
    columns = _columns(results)
    best = {column["name"]: standings(results, column["name"]) for column in columns}
    letters = {reference["name"]: letter for letter, reference in references(results).items()}
    return [
        {
            "arm": arm,
            "letter": letters.get(arm["name"], ""),
            "seeds": len(_seeds(arm)),
            "cells": [_cell(results, arm, column, best[column["name"]]) for column in columns],
        }
        for arm in arms_run(results)
    ]


def _cell(results: Results, arm: Arm, column: Mapping[str, Any], best: Mapping[str, Standing]) -> Cell:
    name, value = column["name"], mean(arm, column["name"])
    sort = abs(value) if value is not None and column["better"] == "zero" else value
    ends = bounds(interval(arm, name))
    return Cell(column["group"], number(value), ends, sort, best.get(arm["name"], ""), marks(results, arm, name))


def _seeds(arm: Arm) -> set[int]:
    return {run["seed"] for run in arm["runs"]}


def _examples(results: Results) -> list[dict[str, Any]]:
    """The examples, rarest topic first, with arms in the order of the table; topics are marked right or wrong."""
    counts = dict(zip(results["topics"]["names"], results["topics"]["counts"], strict=True))
    ordered = sorted(results["examples"], key=lambda its: counts.get(its["true_topic"], 0))
    return [{**its, "count": counts.get(its["true_topic"]), **_answers(results, its["arms"])} for its in ordered]


def _answers(results: Results, answers: Mapping[str, Any]) -> dict[str, list[tuple[str, Any]]]:
    """The outputs to show and, if there are many, the outputs to fold away; the arms of the pictures come first."""
    given = [(arm["name"], answers[arm["name"]]) for arm in arms_run(results) if arm["name"] in answers]
    if len(given) <= MOST_ANSWERS:
        return {"first": given, "others": []}
    key = {arm["name"] for arm in key_arms(results).values()}
    first = [pair for pair in given if pair[0] in key] or given[:MOST_ANSWERS]
    return {"first": first, "others": [pair for pair in given if pair not in first]}


def _pictures(results: Results) -> dict[str, Any] | None:
    try:
        from .svg import bands_panel, cost_panels, difference_panels, reliability_panels, share_panels
    except ImportError:
        return None
    key = key_arms(results)
    arms, kept = list(key.values()), {arm["name"] for arm in key.values()}
    others = [arm for arm in arms_run(results) if arm["name"] not in kept and arm["runs"][0]["shares"]]
    return {
        "bands": bands_panel(results),
        "differences": difference_panels(results),
        "shares": share_panels(results, arms, [_joined(part, _pull(arm)) for part, arm in key.items()]),
        "other_shares": share_panels(results, others, [_pull(arm) for arm in others]),
        "reliability": reliability_panels(arms, [_joined(part, _error(arm)) for part, arm in key.items()]),
        "cost": cost_panels(results),
    }


def _pull(arm: Arm) -> str:
    return f"prior pull {number(mean(arm, 'prior_pull'))}" if mean(arm, "prior_pull") is not None else ""


def _error(arm: Arm) -> str:
    return f"calibration error {number(mean(arm, 'ece'))}" if mean(arm, "ece") is not None else ""


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
