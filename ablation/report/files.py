"""Pictures of an ablation as PNG and SVG files for a paper or README.

Knows matplotlib (the extra `plots`), sizes and files; what a picture shows is in `axes`.
"""

import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...common import replacing_file
from .axes import (
    INK,
    MOST_NAMES,
    draw_bands,
    draw_cost,
    draw_differences,
    draw_reliability,
    draw_shares,
    largest_share,
    short,
    two_lines,
)
from .values import Arm, Results, arms_run, difference, key_arms, measured, references

DPI = 150  # resolution of the PNG files
NAMELESS = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}  # equal figures give equal bytes

Draw = Callable[[Axes], None]


@dataclass(frozen=True)
class Plot:
    """A file of pictures in a grid: titles with the functions that draw them, and the size of each in inches."""

    name: str
    drawn: Sequence[tuple[str, Draw]]
    width: float
    height: float
    columns: int


def save_plots(results: Results, folder: Path) -> list[Path]:
    """Write each picture as PNG and SVG; returns all paths."""
    return [path for plot in _plots(results) if plot.drawn for path in _save(plot, folder)]


def _plots(results: Results) -> list[Plot]:
    arms, key = arms_run(results), list(key_arms(results).values())
    largest = largest_share(results, arms)
    against = [(f"Against {short(its['title'], 48)}", its) for its in compared(results).values()]
    differences = [(title, differences_of(results, its, 40)) for title, its in against]
    shares = [(arm["title"], shares_of(results, arm, largest)) for arm in key]
    reliability = [(arm["title"], reliability_of(arm)) for arm in key if has_reliability(arm)]
    cost = [("", cost_of(results, name)) for name in measured(results, "cost")]
    return [
        Plot("recall_by_band", [("Recall by band", bands_of(results, 48))], 9.0, rows_height(arms, 48), 1),
        Plot("differences", differences, 6.5, rows_height(arms, 40), 2),
        Plot("shares", shares, 4.4, shares_height(results), 4),
        Plot("reliability", reliability, 3.6, 3.6, 4),
        Plot("cost", cost, 5.0, 4.0, 2),
    ]


def _save(plot: Plot, folder: Path) -> list[Path]:
    columns = min(len(plot.drawn), plot.columns)
    lines = -(-len(plot.drawn) // columns)
    written = []
    with style():
        size = (plot.width * columns, plot.height * lines + 0.4)
        figure = Figure(figsize=size, layout="constrained", facecolor=INK["surface"])
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes in panels[len(plot.drawn) :]:
            axes.remove()
        for axes, (title, draw) in zip(panels, plot.drawn, strict=False):
            axes.set_title(two_lines(title, int(plot.width * 6.5)), fontsize=11)
            draw(axes)
        handles, labels = panels[0].get_legend_handles_labels()
        if labels:
            figure.legend(handles, labels, loc="outside lower center", ncols=4)
        for ending, metadata in NAMELESS.items():
            path = folder / f"{plot.name}.{ending}"
            with replacing_file(path, "wb") as file:
                figure.savefig(file, format=ending, dpi=DPI, metadata=metadata)
            written.append(path)
    return written


def bands_of(results: Results, longest: int) -> Draw:
    """A function that draws recall by band for all arms."""
    return lambda axes: draw_bands(axes, results, arms_run(results), longest)


def differences_of(results: Results, reference: Arm, longest: int) -> Draw:
    """A function that draws the differences of all arms to a reference arm."""
    return lambda axes: draw_differences(axes, results, arms_run(results), reference, longest)


def shares_of(results: Results, arm: Arm, largest: float) -> Draw:
    """A function that draws the shares of an arm."""
    return lambda axes: draw_shares(axes, results, arm, largest)


def reliability_of(arm: Arm) -> Draw:
    """A function that draws the reliability curves of an arm."""
    return lambda axes: draw_reliability(axes, arm)


def cost_of(results: Results, cost: str) -> Draw:
    """A function that draws the primary metric of all arms against a cost, with the names of the key arms."""
    named = {arm["name"]: part for part, arm in key_arms(results).items()}
    return lambda axes: draw_cost(axes, results, arms_run(results), cost, named)


def compared(results: Results) -> dict[str, Arm]:
    """The reference arms that have differences to them, by letter."""
    primary, arms = results["primary"], arms_run(results)
    lettered = references(results).items()
    return {letter: its for letter, its in lettered if any(difference(arm, its, primary) for arm in arms)}


def has_reliability(arm: Arm) -> bool:
    """Whether the arm has confidences."""
    return any(run["reliability"] for run in arm["runs"])


def rows_height(arms: Sequence[Arm], longest: int) -> float:
    """Height in inches of a picture with a row for each arm."""
    wrapped = any("\n" in two_lines(arm["title"], longest) for arm in arms)
    return 0.9 + (0.36 if wrapped else 0.27) * len(arms)


def shares_height(results: Results) -> float:
    """Height in inches of a picture of shares."""
    topics = len(results["topics"]["names"])
    return 0.7 + 0.24 * topics if topics <= MOST_NAMES else 3.4


@contextmanager
def style(more: Mapping[str, Any] | None = None) -> Generator[None]:
    """The settings of matplotlib for all pictures, and `more`."""
    settings: dict[Any, Any] = {
        # Names of topics and arms are plain text, even with dollar signs.
        "text.parse_math": False,
        # Ids depend on the content, not on the time.
        "svg.hashsalt": "unskew",
        "font.size": 10,
        "axes.edgecolor": INK["line"],
        "axes.facecolor": INK["surface"],
        "axes.labelcolor": INK["muted"],
        "axes.titlecolor": INK["ink"],
        "axes.titlelocation": "left",
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": INK["line"],
        "grid.linewidth": 0.7,
        "legend.frameon": False,
        "legend.labelcolor": INK["ink"],
        "text.color": INK["ink"],
        "xtick.color": INK["line"],
        "ytick.color": INK["line"],
        "xtick.labelcolor": INK["muted"],
        "ytick.labelcolor": INK["ink"],
    }
    settings.update(more or {})
    with mpl.rc_context(settings), warnings.catch_warnings():
        # A letter that matplotlib's font lacks is a box in the PNG; the page uses the browser's fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield
