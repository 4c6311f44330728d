"""A comparison as an HTML page, in the style of the ablation's report. Knows what was found; measures nothing."""

from pathlib import Path

from ..common import METRIC_TITLES, page_values, render_page
from .compared import Comparison
from .settings import SIGNIFICANT

TEMPLATE = Path(__file__).with_name("compared.html.j2")
MOST_TOPICS = 500
_STYLE = """
thead th{padding:.55rem .6rem;text-align:right;font-weight:600}
thead th.start,tbody th.start{text-align:start;white-space:normal;overflow-wrap:anywhere}
td.change{position:relative;min-width:9rem;width:30%}
td.change span{position:absolute;top:35%;height:.6rem;min-width:1px;border-radius:3px}
td.change .better{left:50%;background:var(--good)}
td.change .worse{right:50%;background:var(--bad)}
"""


def render_comparison(found: Comparison) -> str:
    """The whole page."""
    values = page_values(found.model_dump())
    surest = sorted(values["topics"], key=lambda its: (its["p"], -abs(its["b"] - its["a"])))
    return render_page(
        TEMPLATE,
        style=_STYLE,
        found=values,
        verdict=verdict(found),
        topics=surest[:MOST_TOPICS],
        hidden_topics=max(0, len(surest) - MOST_TOPICS),
        largest=max([abs(its.b - its.a) for its in found.topics if its.b != its.a], default=1.0),
        titles=METRIC_TITLES,
        significant=SIGNIFICANT,
    )


def verdict(found: Comparison) -> str:
    """The finding in a sentence."""
    accuracy = next(its for its in found.measures if its.name == "accuracy")
    alone = f"a alone is right in {found.right_in_one_alone[0]:,} rows, b alone in {found.right_in_one_alone[1]:,}"
    if not accuracy.told_apart:
        return f"Not told apart in accuracy: {alone} (p = {accuracy.p:.2g}); other seeds of either may differ."
    better = "b" if accuracy.difference > 0 else "a"
    return f"{better} is the more accurate: {alone} (p = {accuracy.p:.2g}); other seeds of either may differ."
