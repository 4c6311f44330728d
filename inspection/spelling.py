"""Topics that differ only in case, blanks or Unicode form, and names that show it. Measures nothing."""

from ..corpus import spellings
from .results import Inspection


def spelt_alike(found: Inspection) -> list[list[str]]:
    """The topics that would be one with merged spellings, in groups of two or more."""
    rows = (topic.topic for topic in found.topics)
    return [names for names in spellings(rows).values() if len(names) > 1]


def with_shown_names(found: Inspection) -> Inspection:
    """The inspection with quotes around the names of such topics, because blanks cannot be seen without them."""
    shown = {name: shown_name(name) for names in spelt_alike(found) for name in names}
    if not shown:
        return found
    return found.model_copy(
        update={
            "topics": [its.model_copy(update={"topic": shown.get(its.topic, its.topic)}) for its in found.topics],
            "pairs": [
                its.model_copy(update={"topics": [shown.get(name, name) for name in its.topics]}) for its in found.pairs
            ],
            "worst_suspects": [
                its.model_copy(
                    update={
                        "topic": shown.get(its.topic, its.topic),
                        "suggestion": its.suggestion and shown.get(its.suggestion, its.suggestion),
                    }
                )
                for its in found.worst_suspects
            ],
        }
    )


def shown_name(name: str) -> str:
    """The name in quotes, with escapes for blanks that a terminal or page would draw as one."""
    return repr(name).replace("  ", r" \x20")
