"""Finds rows that paraphrase another row, and the row they paraphrase. Knows records alone."""

from collections import defaultdict
from collections.abc import Sequence

from .records import Record


def split_paraphrases(records: Sequence[Record]) -> tuple[list[Record], list[Record], dict[int, list[int]]]:
    """Split records into originals and paraphrases; returns both, and {original: its paraphrases} as row numbers.

    Row numbers count the originals, then the paraphrases; both keep the order of `records`. A record counts as an
    original if the row it paraphrases is missing, is a paraphrase itself, or has another topic.
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
