"""Texts that occur more than once, in one set or across sets, exactly or nearly. Knows records; no model."""

from collections.abc import Mapping, Sequence

from ..corpus import NearDuplicates, Record, text_key
from .results import Repeat, Repeats

SIMILARITY = 0.5  # Jaccard index of three-word sequences: one changed word of fifteen leaves 0.6
EXAMPLES = 500


def find_repeats(sets: Mapping[str, Sequence[Record]]) -> list[Repeat]:
    """A repeat for each row with the same or nearly the same text as an earlier row, in the order of sets and rows.

    Rows of other sets are compared with the first set only: two similar noisy rows do no harm. The earlier row is one
    that repeats no other itself, or has exactly the row's text: among the rows of a template, one stands for all.

    Args:
        sets: Records by the name of their set, the clean set first.
    """
    first = next(iter(sets))
    known, near, found = {}, NearDuplicates(SIMILARITY), []
    for name, records in sets.items():
        for record in records:
            key = text_key(record.text)
            exact = key in known
            twin = known.get(key)
            if not exact and (place := near.like(record.text)) is not None:
                twin = known[place]
            if twin is not None:
                same = record.topic == twin.topic
                found.append(Repeat(id=record.id, set=name, twin=twin.id, twin_set=first, exact=exact, same_topic=same))
            if name == first and not exact:
                known[key] = record
                if twin is None:
                    near.add(key, record.text)
    return found


def summed(repeats: Sequence[Repeat], clean: str) -> Repeats:
    """The number of repeats of each kind, with examples."""
    inside = [repeat for repeat in repeats if repeat.set == clean]
    return Repeats(
        exact=sum(repeat.exact for repeat in inside),
        near=sum(not repeat.exact for repeat in inside),
        two_topics=sum(not repeat.same_topic for repeat in inside),
        across=len(repeats) - len(inside),
        validation=sum(repeat.set == "validation" for repeat in repeats),
        examples=sorted(repeats, key=lambda repeat: (repeat.set != clean, repeat.same_topic))[:EXAMPLES],
    )
