"""Finds rows that a person should check: doubted labels, and equal texts with two topics. Knows no model."""

from collections.abc import Mapping, Sequence

from ..balance import DoubtedLabels
from ..corpus import Record, Topics
from .results import Repeat, Suspect


def find_suspects(
    records: Sequence[Record], topics: Topics, doubts: DoubtedLabels | None, repeats: Sequence[Repeat]
) -> list[Suspect]:
    """Suspects, the most doubtful label first, then rows that repeat another's text under another topic.

    Args:
        records: The clean rows.
        topics: The topics, in the order of the doubts' indices.
        doubts: Doubted labels; None if labels were not checked.
        repeats: Repeats of the clean rows; other repeats are ignored.
    """
    by_id = {record.id: record for record in records}
    twins = {repeat.id: repeat for repeat in repeats if repeat.set == repeat.twin_set and not repeat.same_topic}
    found = []
    for row in doubts.rows() if doubts is not None else ():
        times = doubts.times[row].item() if doubts is not None else 0.0
        suggestion = topics.names[int(doubts.other[row])] if doubts is not None else None
        why = f"{suggestion} is {times:,.0f} times as probable, by similar rows" if times < 1e6 else (
            f"{suggestion} is far more probable, by similar rows"
        )  # fmt: skip
        repeat = twins.pop(records[row].id, None)
        found.append(_suspect(records[row], suggestion, times, "; ".join([why, *_of_twin(repeat, by_id)])))
    for repeat in twins.values():
        said = "; ".join(_of_twin(repeat, by_id))
        found.append(_suspect(by_id[repeat.id], by_id[repeat.twin].topic, 0.0, said))
    return found


def _of_twin(repeat: Repeat | None, by_id: Mapping[str, Record]) -> list[str]:
    if repeat is None:
        return []
    alike = "the same text" if repeat.exact else "nearly the same text"
    return [f"{alike} is {by_id[repeat.twin].topic} in row {repeat.twin}"]


def _suspect(record: Record, suggestion: str | None, times: float, why: str) -> Suspect:
    return Suspect(
        id=record.id,
        text=record.text,
        topic=str(record.topic),
        target=record.target,
        suggestion=suggestion,
        times=round(min(times, 1e9), 1),
        why=why,
    )
