"""An inspection as an HTML page, in the style of the ablation's report. Knows what was found; measures nothing."""

from pathlib import Path

from ..common import page_values, render_page
from .results import Inspection
from .spelling import with_shown_names
from .tables import duration, facts

TEMPLATE = Path(__file__).with_name("page.html.j2")
MOST_TOPICS = 500


def render_inspection(found: Inspection) -> str:
    """The whole page."""
    found = with_shown_names(found)
    values = page_values(found.model_dump())
    return render_page(
        TEMPLATE,
        style=TEMPLATE.with_name("page.css").read_text("utf-8"),
        found=values,
        facts=page_values(facts(found)),
        topics=values["topics"][:MOST_TOPICS],
        largest=max(topic.rows for topic in found.topics),
        hidden_topics=max(0, len(found.topics) - MOST_TOPICS),
        duration=duration,
    )
