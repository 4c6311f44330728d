"""Rows that say in other words what another row says: which are they, and of which. Knows records alone."""

from collections import defaultdict
from collections.abc import Sequence

from .records import Record


def split_paraphrases(records: Sequence[Record]) -> tuple[list[Record], list[Record], dict[int, list[int]]]:
    """The records that paraphrase no other one, those that do, and {row: the rows that paraphrase it}.

    The numbers are of the first list with the second one after it; both keep the order of `records`. A paraphrase of
    a row that is not there, or is a paraphrase itself, or has another topic, is a record like any other.
    """
    originals = {record.id: record.topic for record in records if record.paraphrase_of is None}
    own, others = [], []
    for record in records:
        same = record.paraphrase_of in originals and originals[record.paraphrase_of] == record.topic
        (others if same else own).append(record)
    places = {record.id: row for row, record in enumerate(own) if record.paraphrase_of is None}
    paraphrases: dict[int, list[int]] = defaultdict(list)
    for row, record in enumerate(others, len(own)):
        paraphrases[places[str(record.paraphrase_of)]].append(row)
    return own, others, dict(paraphrases)
