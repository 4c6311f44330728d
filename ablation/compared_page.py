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
    surest = found.surest_topics
    return render_page(
        TEMPLATE,
        style=_STYLE,
        found=page_values(found.model_dump()),
        verdict=found.verdict,
        topics=page_values([its.model_dump() for its in surest[:MOST_TOPICS]]),
        hidden_topics=max(0, len(surest) - MOST_TOPICS),
        largest=max(abs(its.b - its.a) for its in surest) or 1.0,
        titles=METRIC_TITLES,
        significant=SIGNIFICANT,
    )
