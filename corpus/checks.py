"""Checks of records before anything is trained or measured on them; knows nothing of files or models.

A message names a record by its position in the given list, counted from 1, and by its id.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from ..common import UserError
from .records import Record
from .topics import Topics, spelling_key, spellings

MOST_UNUSABLE = 0.1  # share of bad rows beyond which a wrong column or format is likely


def check_training(records: Sequence[Record], name: str = "the training set") -> list[str]:
    """Check a training set, and return warnings of one line each.

    Warnings are about topics with similar spellings, rare topics, repeated texts and missing targets.

    Raises:
        UserError: If the set is empty, an id occurs twice, a record has no topic, or all have the same topic.
    """
    if not records:
        raise UserError(f"{name} has no records; give at least two topics with one each")
    _check_ids(records, name)
    counts = Counter(_topics_of(records, name))
    if len(counts) == 1:
        only = next(iter(counts))
        raise UserError(f"{name} has only the topic {only!r}; give at least two topics to classify")
    return [*_spelt_alike(counts, name), *_rare(counts, name), *_repeated(records, name), *_untargeted(records, name)]


def check_known_topics(records: Iterable[Record], topics: Topics, name: str = "the evaluation set") -> None:
    """Check that every record has a topic that the system was trained on.

    Raises:
        UserError: Naming the first record without a topic, or the topics unseen in training with their counts.
    """
    unseen = Counter(topic for topic in _topics_of(records, name) if topic not in topics)
    if unseen:
        listed = _listed([f"{topic!r} ({count} rows)" for topic, count in unseen.most_common()])
        known = {spelling_key(topic): topic for topic in topics.names}
        respelt = [f"{topic!r} as {known[key]!r}" for topic in unseen if (key := spelling_key(topic)) in known]
        hint = f"write {_listed(respelt)}, as in training" if respelt else topics.hint(next(iter(unseen)))
        raise UserError(f"{name} has topics unseen in training: {listed}; rename or remove these rows ({hint})")


def overlapping(records: Iterable[Record], others: Iterable[Record]) -> list[Record]:
    """The records whose text, white space aside, also occurs in `others`."""
    texts = {squeezed(other.text) for other in others}
    return [record for record in records if squeezed(record.text) in texts]


def check_disjoint(
    train: Sequence[Record],
    other: Sequence[Record],
    train_name: str = "the training set",
    other_name: str = "the test set",
) -> None:
    """Check that no text, white space aside, is in both sets.

    Raises:
        UserError: If a text is in both; gives their number and an example.
    """
    shared = overlapping(train, other)
    if shared:
        text = squeezed(shared[0].text)
        shown = text if len(text) <= 60 else text[:57] + "..."
        twin = next(record for record in other if squeezed(record.text) == text)
        raise UserError(
            f"{len(shared)} texts of {train_name} also occur in {other_name}, as {shown!r} (id {shared[0].id!r} there, "
            f"id {twin.id!r} here); remove them from {train_name}, or the measured quality will be too high"
        )


def _check_ids(records: Sequence[Record], name: str) -> None:
    first: dict[str, int] = {}
    for number, record in enumerate(records, start=1):
        earlier = first.setdefault(record.id, number)
        if earlier != number:
            further = len(records) - len({record.id for record in records}) - 1
            more = f" ({further} further rows repeat an id)" if further else ""
            remedy = "make the ids unique, or leave out the id column to number the rows"
            raise UserError(f"{name}: the id {record.id!r} occurs in records {earlier} and {number}{more}; {remedy}")


def _topics_of(records: Iterable[Record], name: str) -> Iterable[str]:
    for number, record in enumerate(records, start=1):
        if record.topic is None:
            raise UserError(f"{name}, record {number} (id {record.id!r}) has no topic; give it one or remove it")
        yield record.topic


def _spelt_alike(counts: Counter[str], name: str) -> list[str]:
    alike = [names for names in spellings(counts.elements()).values() if len(names) > 1]
    if not alike:
        return []
    shown = [" and ".join(f"{name!r} ({counts[name]} rows)" for name in names) for names in alike]
    return [
        f"{name}: topics differ in case, blanks or Unicode form only and are taken as different: {_listed(shown)}; "
        "give --data.merge_spellings true to take them as one"
    ]


def _rare(counts: Counter[str], name: str) -> list[str]:
    single = sorted(topic for topic, count in counts.items() if count == 1)
    if not single:
        return []
    return [f"{name}: {len(single)} topics have a single row and cannot be validated: {_listed(single)}"]


def _repeated(records: Sequence[Record], name: str) -> list[str]:
    topics_by_text: dict[str, list[str | None]] = defaultdict(list)
    for record in records:
        topics_by_text[squeezed(record.text)].append(record.topic)
    repeats = [topics for topics in topics_by_text.values() if len(topics) > 1]
    if not repeats:
        return []
    disputed = sum(len(set(topics)) > 1 for topics in repeats)
    return [f"{name}: {len(repeats)} texts occur more than once, {disputed} of them under different topics"]


def _untargeted(records: Sequence[Record], name: str) -> list[str]:
    missing = sum(record.target is None for record in records)
    if missing in (0, len(records)):
        return []
    return [f"{name}: {missing} of {len(records)} records have no target"]


def check_usable(bad: int, usable: int, first: str) -> None:
    """Raise a UserError if so many rows are bad that something else must be wrong.

    Args:
        bad: Number of rows that cannot be used.
        usable: Number of the other rows.
        first: Place and reason of the first bad row.
    """
    if bad > MOST_UNUSABLE * (bad + usable):
        raise UserError(f"{first}; fix or remove this row ({bad - 1} further rows are bad)")


def squeezed(text: str) -> str:
    """The text with each run of white space as one blank, and none at its ends."""
    return " ".join(text.split())


def text_key(text: str) -> str:
    """The same for texts that differ only in letter case or white space, which a model may read alike."""
    return squeezed(text).casefold()


def _listed(items: Sequence[str], most: int = 8) -> str:
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
