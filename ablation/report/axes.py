"""Draws the pictures of an ablation into matplotlib axes (the extra `plots`).

Knows figures and axes, but no sizes, files or pages (see `files` and `svg`). Every colour is one of `COLOURS`, because
the page replaces these by its own, light or dark.
"""

import itertools
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from ...common import COLOURS
from ...corpus import BANDS
from .values import Arm, Results, band_recall, bounds, difference, interval, is_significant, mean, number

INK = {name: light for name, (light, _) in COLOURS.items()}
MOST_NAMES = 40  # beyond this number topic names are unreadable


def short(name: str, most: int) -> str:
    """A name cut to `most` characters."""
    return name if len(name) <= most else name[: most - 1].rstrip() + "…"


def two_lines(title: str, width: int) -> str:
    """A title in at most two lines of `width` characters."""
    return "\n".join(textwrap.wrap(title, width, max_lines=2, placeholder="…")) or title


def largest_share(results: Results, arms: Sequence[Arm]) -> float:
    """The largest share in the arms, the true topics and the training set: the common end of the axes."""
    topics = results["topics"]
    predicted = [max(run["shares"].values(), default=0.0) for arm in arms for run in arm["runs"]]
    return max([*predicted, *topics["true_shares"], max(topics["counts"]) / sum(topics["counts"])])


def draw_shares(axes: Axes, results: Results, arm: Arm, largest: float) -> None:
    """Draw predicted against true shares by topic, most frequent in training first, with the training prior."""
    topics = results["topics"]
    order = np.argsort(-np.asarray(topics["counts"]), kind="stable")
    prior = (np.asarray(topics["counts"]) / sum(topics["counts"]))[order]
    true = np.asarray(topics["true_shares"], dtype=float)[order]
    seeds = np.array([[run["shares"].get(topics["names"][i], 0.0) for i in order] for run in arm["runs"]])
    draw = _shares_by_name if len(order) <= MOST_NAMES else _shares_by_rank
    draw(axes, prior, true, seeds, largest)
    if len(order) <= MOST_NAMES:
        axes.set_yticks(range(len(order)), [short(topics["names"][i], 22) for i in order])
    else:
        axes.set_ylim(0.5 / max(results["rows"]["test"], 1), largest * 1.3)


def _shares_by_name(axes: Axes, prior: np.ndarray, true: np.ndarray, seeds: np.ndarray, largest: float) -> None:
    rows = np.arange(len(prior))
    axes.barh(rows, true, 0.72, color=INK["true"], label="true")
    axes.plot(prior, rows, color=INK["train"], marker="|", markersize=7, linewidth=1.6, label="training prior")
    axes.hlines(rows, seeds.min(0), seeds.max(0), color=INK["predicted"], linewidth=1.5)
    dots = {"color": INK["predicted"], "markeredgecolor": INK["surface"], "markersize": 7.5}
    axes.plot(seeds.mean(0), rows, "o", label="predicted", **dots)
    axes.set(xlim=(0, largest * 1.04), ylim=(len(rows) - 0.4, -0.6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g}%"))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _shares_by_rank(axes: Axes, prior: np.ndarray, true: np.ndarray, seeds: np.ndarray, largest: float) -> None:
    ranks = np.arange(1, len(prior) + 1)
    axes.set_yscale("log")
    axes.fill_between(ranks, true, 1e-9, color=INK["true"], step="mid", linewidth=0, label="true")
    # A topic that is never predicted is drawn below the axis.
    predicted = np.maximum(seeds.mean(0), 1e-9)
    axes.step(ranks, predicted, where="mid", color=INK["predicted"], linewidth=1, label="predicted")
    axes.plot(ranks, np.maximum(prior, 1e-9), color=INK["train"], linewidth=2, label="training prior")
    axes.set(xlabel="topics, most training rows first", xlim=(0.5, len(ranks) + 0.5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g}%"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def draw_reliability(axes: Axes, arm: Arm) -> None:
    """Draw accuracy against mean confidence, a line for each seed; the size of a dot is the size of its bin."""
    axes.plot([0, 1], [0, 1], color=INK["muted"], linewidth=1, linestyle=(0, (4, 3)))
    for run in arm["runs"]:
        bins = np.array([point for point in run["reliability"] if point[2]], dtype=float).reshape(-1, 3)
        axes.plot(bins[:, 0], bins[:, 1], color=INK["predicted"], linewidth=1, alpha=0.55)
        sizes = 6 + 220 * bins[:, 2] / max(bins[:, 2].sum(), 1)
        axes.scatter(bins[:, 0], bins[:, 1], sizes, color=INK["predicted"], alpha=0.6, linewidth=0)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="share right")
    axes.grid()


def draw_bands(axes: Axes, results: Results, arms: Sequence[Arm], longest: int) -> None:
    """Draw recall by band, one row for each arm."""
    recalls = [band_recall(results, arm) for arm in arms]
    for offset, band in zip((-0.24, 0, 0.24), BANDS, strict=True):
        found = [(row + offset, *its[band]) for row, its in enumerate(recalls) if band in its]
        for row, _, ends in found:
            if ends is not None:
                axes.plot(ends, [row, row], color=INK[band], linewidth=1.4, alpha=0.75)
        dots = {"color": INK[band], "markeredgecolor": INK["surface"], "markersize": 6.5, "label": _band_label(band)}
        axes.plot([value for _, value, _ in found], [row for row, _, _ in found], "o", **dots)
    axes.set(xlim=(-0.02, 1.02), xlabel="recall")
    _name_arms(axes, arms, longest)


def draw_differences(axes: Axes, results: Results, arms: Sequence[Arm], reference: Arm, longest: int) -> None:
    """Draw differences of the primary metric to a reference arm; filled dots are significant."""
    primary = results["primary"]
    axes.axvline(0, color=INK["muted"], linewidth=1)
    for row, arm in enumerate(arms):
        found = difference(arm, reference, primary)
        if found is None or arm["name"] == reference["name"]:
            continue
        colour = INK.get(arm["group"], INK["ink"])
        if found.get("interval") and None not in found["interval"]:
            axes.plot(found["interval"], [row, row], color=colour, linewidth=1.8)
        fill = colour if is_significant(found) else INK["surface"]
        axes.plot([found["difference"]], [row], "o", color=fill, markeredgecolor=colour, markersize=7)
    axes.set(xlabel=f"difference in {results['metrics'][primary]['title']}")
    _name_arms(axes, arms, longest)
    _explain_groups(axes, arms)


def draw_cost(axes: Axes, results: Results, arms: Sequence[Arm], cost: str, named: Mapping[str, str]) -> None:
    """Draw the primary metric against a cost; the arms in `named` (name: label) have labels beside their dots."""
    primary = results["primary"]
    shown = [arm for arm in arms if mean(arm, cost) is not None and mean(arm, primary) is not None]
    for place, arm in enumerate(arms):
        if arm in shown:
            colour, at = INK.get(arm["group"], INK["ink"]), (arm["mean"][cost], arm["mean"][primary])
            for ends, values in ((interval(arm, primary), "y"), (interval(arm, cost), "x")):
                if ends is not None:
                    line = ([at[0]] * 2, ends) if values == "y" else (ends, [at[1]] * 2)
                    axes.plot(*line, color=colour, linewidth=1, alpha=0.5)
            (dot,) = axes.plot(*at, "o", color=colour, markeredgecolor=INK["surface"], markersize=9)
            dot.set_gid(f"arm-{place}")
    _scale_cost(axes, [arm["mean"][cost] for arm in shown])
    axes.set(xlabel=results["metrics"][cost]["title"], ylabel=results["metrics"][primary]["title"])
    axes.margins(0.12)
    axes.grid()
    _explain_groups(axes, shown)
    places = {arm["name"]: (arm["mean"][cost], arm["mean"][primary]) for arm in shown}
    _label(axes, list(places.values()), [(*place, named[name]) for name, place in places.items() if name in named])


def cost_tip(results: Results, arm: Arm, cost: str) -> str:
    """The tooltip of a dot of `draw_cost`."""
    primary = results["primary"]
    figure = f"{results['metrics'][primary]['title']} {number(mean(arm, primary))} {bounds(interval(arm, primary))}"
    return f"{arm['title']}: {figure.rstrip()}, {results['metrics'][cost]['title']} {number(mean(arm, cost))}"


def _scale_cost(axes: Axes, values: Sequence[float]) -> None:
    positive = [value for value in values if value > 0]
    if positive and max(positive) > 20 * min(positive):
        # A logarithmic axis with a place for a cost of 0 (no trained parameters).
        scale = "log" if len(positive) == len(values) else "symlog"
        axes.set_xscale(scale, **({"linthresh": min(positive)} if scale == "symlog" else {}))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value) if abs(value) >= 1e4 else f"{value:g}"))


def _label(axes: Axes, dots: Sequence[tuple[float, float]], named: Sequence[tuple[float, float, str]]) -> None:
    """Write labels beside their dots, at the nearest place where a label covers no dot and no other label.

    Boxes (left, right, lower, upper) are in points.
    """
    axes.get_figure().draw_without_rendering()  # type: ignore[union-attr]
    scale = 72 / axes.figure.dpi
    edge = axes.bbox.x0 * scale, axes.bbox.x1 * scale
    places = [axes.transData.transform(dot) * scale for dot in dots]
    taken = [(x - 5, x + 5, y - 5, y + 5) for x, y in places]
    for x, y, label in sorted(named, key=lambda item: item[1]):
        across, up = axes.transData.transform((x, y)) * scale
        best: tuple[float, float, bool, tuple[float, float, float, float]] | None = None
        for left, rise in itertools.product((False, True), range(-60, 61, 4)):
            start = across - 9 - 5.8 * len(label) if left else across + 9
            box = (start, start + 5.8 * len(label), up + rise - 6, up + rise + 6)
            covered = sum(_overlap(box, other) for other in taken) + (box[0] < edge[0]) + (box[1] > edge[1])
            cost = 1000 * covered + abs(rise)
            if best is None or cost < best[0]:
                best = cost, rise, left, box
        if best is not None:
            _, rise, left, box = best
            taken.append(box)
            text = {"ha": "right" if left else "left", "va": "center", "color": INK["ink"], "fontsize": 10, "zorder": 5}
            # A line joins a label that had to move with its dot.
            line = {
                "arrowstyle": "-",
                "color": INK["muted"],
                "linewidth": 0.8,
                "relpos": (int(left), 0.5),
                "shrinkB": 5,
            }
            axes.annotate(
                label,
                (x, y),
                (-9 if left else 9, rise),
                textcoords="offset points",
                arrowprops=line if abs(rise) > 8 else None,
                **text,
            )


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]


def _band_label(band: str) -> str:
    return {"many": "many (over 100 rows)", "medium": "medium (20 to 100)", "few": "few (under 20)"}[band]


def _explain_groups(axes: Axes, arms: Sequence[Arm]) -> None:
    for group in dict.fromkeys(arm["group"] for arm in arms):
        axes.plot([], [], "o", color=INK.get(group, INK["ink"]), label=group)


def _name_arms(axes: Axes, arms: Sequence[Arm], longest: int) -> None:
    axes.set_yticks(range(len(arms)), [two_lines(arm["title"], longest) for arm in arms], linespacing=1.05)
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    for above, (upper, lower) in enumerate(zip(arms, arms[1:], strict=False)):
        if upper["group"] != lower["group"]:
            axes.axhline(above + 0.5, color=INK["line"], linewidth=1)
