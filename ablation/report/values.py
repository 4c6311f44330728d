"""Reads the figures of an ablation: the leading arm, significant differences, the format of numbers.

Knows the results dict (see `write_report`), but no files, pages or pictures.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...corpus import BANDS
from ..settings import SIGNIFICANT
from ..statistics import MIN_SEEDS

Results = Mapping[str, Any]
Arm = Mapping[str, Any]
Standing = Literal["best", "tied", ""]

GROUPS = {
    "decoder": "Decoder alone",
    "encoder": "Encoder and classical",
    "hybrid": "Hybrid: encoder decides, decoder writes",
    "reference": "Bounds, for reference",
}
LETTERS = "ABCDEF"  # letters of the reference arms


@dataclass(frozen=True)
class Mark:
    """A significant difference to a reference arm.

    Attributes:
        letter: Letter of the reference arm.
        better: Whether the arm is the better of the two.
        text: The difference in words.
    """

    letter: str
    better: bool
    text: str


def arms_run(results: Results) -> list[Arm]:
    """The arms that have at least one run, group by group, in the order given within a group."""
    order = list(GROUPS)
    run = [arm for arm in results["arms"] if arm["runs"]]
    return sorted(run, key=lambda arm: order.index(arm["group"]) if arm["group"] in GROUPS else len(order))


def arms_not_run(results: Results) -> list[Arm]:
    """The arms in the results that have no run."""
    return [arm for arm in results["arms"] if not arm["runs"]]


def references(results: Results) -> dict[str, Arm]:
    """The reference arms that were run, by their letter."""
    run = {arm["name"]: arm for arm in results["arms"] if arm["runs"]}
    lettered = zip(LETTERS, results["reference_arms"], strict=False)
    return {letter: run[name] for letter, name in lettered if name in run}


def mean(arm: Arm, metric: str) -> float | None:
    """The arm's mean over seeds; None if it was not measured."""
    value = arm["mean"].get(metric)
    return value if value is not None and math.isfinite(value) else None


def interval(arm: Arm, metric: str) -> tuple[float, float] | None:
    """The arm's interval; None without one, as with a single seed."""
    ends = arm["interval"].get(metric)
    if mean(arm, metric) is None or ends is None or any(end is None or not math.isfinite(end) for end in ends):
        return None
    return ends[0], ends[1]


def runs_with(arm: Arm, metric: str) -> int:
    """The number of the arm's runs that have a figure for the metric."""
    return sum(run["metrics"].get(metric) is not None for run in arm["runs"])


def fewest_runs(results: Results) -> int:
    """The smallest number of runs of an arm; bounds, some of which do not depend on the seed, only if alone."""
    run = arms_run(results)
    contenders = [arm for arm in run if arm["group"] != "reference"]
    return min((len(arm["runs"]) for arm in contenders or run), default=0)


def measured(results: Results, group: str) -> list[str]:
    """The metrics of a group for which any arm has a figure, in the order given."""
    arms, metrics = arms_run(results), results["metrics"].items()
    return [name for name, its in metrics if its["group"] == group and any(mean(a, name) is not None for a in arms)]


def standings(results: Results, metric: str) -> dict[str, Standing]:
    """The best arm, or the arms tied for the lead, by the name of the arm.

    An arm is "best" only if its interval overlaps no other arm's interval. Otherwise the leader and all arms that
    overlap it are "tied". The result is empty without intervals, with fewer than five runs of an arm, or if all arms
    are tied. Arms of the group "reference" are bounds, not contenders.
    """
    contenders = [arm for arm in arms_run(results) if arm["group"] != "reference" and mean(arm, metric) is not None]
    if len(contenders) < 2 or any(runs_with(arm, metric) < MIN_SEEDS for arm in contenders):
        return {}
    if any(interval(arm, metric) is None for arm in contenders):
        return {}
    better = results["metrics"][metric]["better"]
    spans = {arm["name"]: _badness(arm, metric, better) for arm in contenders}
    leader = min(spans, key=lambda name: spans[name][0])
    tied = [name for name, span in spans.items() if span[1] <= spans[leader][2]]
    if len(tied) == len(contenders):
        return {}
    return {leader: "best"} if tied == [leader] else dict.fromkeys(tied, "tied")


def _badness(arm: Arm, metric: str, better: str) -> tuple[float, float, float]:
    """Mean and interval on a scale on which less is better."""
    value, (low, high) = arm["mean"][metric], arm["interval"][metric]
    if better == "higher":
        return -value, -high, -low
    if better == "lower":
        return value, low, high
    nearest = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return abs(value), nearest, max(abs(low), abs(high))


def is_better(results: Results, arm: Arm, reference: Arm, metric: str) -> bool:
    """Whether the arm's mean is better than the reference's, in the metric's own direction."""
    own, other = mean(arm, metric), mean(reference, metric)
    if own is None or other is None:
        return False
    better = results["metrics"][metric]["better"]
    if better == "zero":
        return abs(own) < abs(other)
    return own > other if better == "higher" else own < other


def difference(arm: Arm, reference: Arm, metric: str) -> Mapping[str, Any] | None:
    """The paired difference to a reference arm; None without one."""
    found = arm.get("against", {}).get(reference["name"], {}).get(metric)
    return found if found and found.get("difference") is not None else None


def is_significant(found: Mapping[str, Any]) -> bool:
    """Whether a difference is significant after the correction for many comparisons."""
    return found.get("p_corrected") is not None and found["p_corrected"] < SIGNIFICANT


def marks(results: Results, arm: Arm, metric: str) -> list[Mark]:
    """The significant differences of an arm to the reference arms."""
    shown = []
    for letter, reference in references(results).items():
        found = difference(arm, reference, metric)
        if found and reference["name"] != arm["name"] and is_significant(found):
            text = f"{number(found['difference'], sign=True)} against {letter}{_ends(found)}, {p_value(found)}"
            shown.append(Mark(letter, is_better(results, arm, reference, metric), text))
    return shown


def key_arms(results: Results) -> dict[str, Arm]:
    """The arms that pictures show first, by their role; arms that were not run are left out.

    The best arm of a group has the best primary metric.
    """
    run, named = arms_run(results), list(results["reference_arms"])
    by_name = {arm["name"]: arm for arm in run}
    others = [arm for arm in run if arm["group"] == "decoder" and arm["name"] not in named]
    # A single reference arm may be the baseline or the recommended arm.
    first = "plain" if len(named) > 1 else "reference"
    picked = {
        first: by_name.get(named[0]) if named else None,
        "best other decoder": _leader(results, others),
        "recommended": by_name.get(named[1]) if len(named) > 1 else None,
        "hybrid": _leader(results, [arm for arm in run if arm["group"] == "hybrid"]),
    }
    return {part: arm for part, arm in picked.items() if arm is not None}


def _leader(results: Results, arms: Sequence[Arm]) -> Arm | None:
    primary = results["primary"]
    measured = [arm for arm in arms if mean(arm, primary) is not None]
    sign = -1 if results["metrics"][primary]["better"] == "higher" else 1
    return min(measured, key=lambda arm: sign * arm["mean"][primary], default=None)


def band_recall(results: Results, arm: Arm) -> dict[str, tuple[float, tuple[float, float] | None]]:
    """Recall by band with its interval: the metrics recall_BAND, else the mean over the band's topics and seeds."""
    found = {}
    for band in BANDS:
        value, ends = mean(arm, f"recall_{band}"), interval(arm, f"recall_{band}")
        value = _topics_recall(results, arm, band) if value is None else value
        if value is not None:
            found[band] = value, ends
    return found


def _topics_recall(results: Results, arm: Arm, band: str) -> float | None:
    topics = results["topics"]
    own = {name for name, its in zip(topics["names"], topics["bands"], strict=True) if its == band}
    values = [value for run in arm["runs"] for topic, value in run["recall"].items() if topic in own]
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


def number(value: float | None, sign: bool = False) -> str:
    """A figure for people: three decimals below ten, fewer above, and k, M and G from ten thousand."""
    if value is None:
        return "–"
    size, plus = abs(value), "+" if sign else ""
    # A little below the next unit, so that three digits never round up to "1e+03".
    for limit, unit, letter in ((999.5e6, 1e9, "G"), (999.5e3, 1e6, "M"), (1e4, 1e3, "k")):
        if size >= limit:
            return _minus(f"{value / unit:{plus}.3g} {letter}")
    decimals = 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0
    return _minus(f"{value:{plus},.{decimals}f}")


def bounds(ends: Sequence[float] | None) -> str:
    """An interval in brackets; empty without one."""
    return "" if ends is None else f"[{number(ends[0])}, {number(ends[1])}]"


def p_value(found: Mapping[str, Any]) -> str:
    """The corrected p of a difference."""
    value = found.get("p_corrected")
    if value is None:
        return "p not known"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _ends(found: Mapping[str, Any]) -> str:
    ends = found.get("interval")
    return f" {bounds(ends)}" if ends and None not in ends else ""


def _minus(text: str) -> str:
    return text.replace("-", "−")
