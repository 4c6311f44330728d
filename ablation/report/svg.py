"""Pictures of an ablation as SVG inside the page, in the page's font and colours, light or dark.

Knows matplotlib (the extra `plots`) and SVG, but not what a picture shows (see `axes`).
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from matplotlib.figure import Figure

from ...common import COLOURS
from .axes import cost_tip, largest_share
from .files import (
    NAMELESS,
    Draw,
    bands_of,
    compared,
    cost_of,
    differences_of,
    has_reliability,
    reliability_of,
    rows_height,
    shares_height,
    shares_of,
    style,
)
from .values import Arm, Results, arms_run, measured

NARROW, WIDE = 5.0, 11.0  # in inches of 72 CSS pixels: widths of a phone and of a desktop


@dataclass(frozen=True)
class Panel:
    """A picture of the page: SVG for narrow and, if it differs, for wide screens, with a title and a note."""

    title: str
    svg: str
    wide: str = ""
    note: str = ""


def bands_panel(results: Results) -> Panel:
    """Recall by band, all arms."""
    arms, title = arms_run(results), "Recall by band"
    narrow = _svg("bands", title, NARROW, rows_height(arms, 24), bands_of(results, 24))
    return Panel(title, narrow, _svg("bands-wide", title, WIDE, rows_height(arms, 60), bands_of(results, 60)))


def difference_panels(results: Results) -> list[Panel]:
    """Differences of the primary metric to each reference arm."""
    height, panels = rows_height(arms_run(results), 24), []
    for letter, reference in compared(results).items():
        title = f"Against {letter}: {reference['title']}"
        panels.append(Panel(title, _svg(title, title, NARROW, height, differences_of(results, reference, 24))))
    return panels


def share_panels(results: Results, arms: Sequence[Arm], notes: Sequence[str]) -> list[Panel]:
    """Predicted against true shares, a panel for each arm."""
    largest, height, panels = largest_share(results, arms_run(results)), shares_height(results), []
    for arm, note in zip(arms, notes, strict=True):
        title = f"Shares of topics: {arm['title']}"
        svg = _svg(f"shares-{arm['name']}", title, NARROW, height, shares_of(results, arm, largest))
        panels.append(Panel(arm["title"], svg, note=note))
    return panels


def reliability_panels(arms: Sequence[Arm], notes: Sequence[str]) -> list[Panel]:
    """Reliability curves, a panel for each arm that has confidences."""
    panels = []
    for arm, note in zip(arms, notes, strict=True):
        if has_reliability(arm):
            title = f"Reliability: {arm['title']}"
            svg = _svg(f"reliability-{arm['name']}", title, NARROW, 3.6, reliability_of(arm))
            panels.append(Panel(arm["title"], svg, note=note))
    return panels


def cost_panels(results: Results) -> list[Panel]:
    """The primary metric against each cost; each dot has a tooltip with its arm."""
    primary, panels = results["metrics"][results["primary"]]["title"], []
    for cost in measured(results, "cost"):
        title = results["metrics"][cost]["title"]
        svg = _svg(f"cost-{cost}", f"{primary} against {title}", NARROW, 4, cost_of(results, cost))
        for place, arm in enumerate(arms_run(results)):
            tip = f"<title>{escape(cost_tip(results, arm, cost))}</title>"
            svg = svg.replace(f'<g id="arm-{place}">', f"<g>{tip}")
        panels.append(Panel(title, svg))
    return panels


def _svg(name: str, title: str, width: float, height: float, draw: Draw) -> str:
    """An SVG element; `name` makes its ids unique in the page."""
    file = io.StringIO()
    size = 11 if width == NARROW else 10
    with style({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": size}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.subplots())
        figure.savefig(file, format="svg", transparent=True, metadata=NAMELESS["svg"])
    return _themed(file.getvalue(), title)


def _themed(svg: str, title: str) -> str:
    svg = svg[svg.index("<svg") :]
    # Elements that are referenced or get a title keep their id; other ids would occur twice in the page.
    kept = set(re.findall(r'(?:url\(|href=")#([\w-]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda id: id[0] if id[1] in kept or id[1].startswith("arm-") else "", svg)
    for name, (light, _) in COLOURS.items():
        svg = svg.replace(light, f"var(--{name})")
    # Nobody sees hundredths of a pixel, and matplotlib's six digits would double the page.
    svg = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # The page's font, in the size drawn.
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    view = re.search(r'viewBox="[^"]*"', svg)
    head = f'<svg {view[0] if view else ""} role="img" aria-label="{escape(title)}">'
    return head + re.sub(r"\n\s*", "\n", svg[svg.index(">") + 1 :])
