"""The sets of records that a fit uses: read, checked against each other, split. Knows records, no model."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from ..corpus import (
    Record,
    Topics,
    check_disjoint,
    check_known_topics,
    check_training,
    load,
    overlapping,
    stratified_split,
)
from .settings import DataSettings

log = logging.getLogger("unskew")


@dataclass(frozen=True)
class Sets:
    """Records to fit on.

    Attributes:
        train: The clean set, less what is held out.
        validation: Held out of it.
        noisy: None where there is none.
        topics: With their counts in `train`.
    """

    train: list[Record]
    validation: list[Record]
    noisy: list[Record] | None
    topics: Topics


def read_sets(settings: DataSettings, seed: int) -> Sets:
    """Read the sets, and see to it that nothing validated on was trained on.

    Raises:
        UserError: If a file or a row cannot be used, or a text stands in two sets that the user gave apart.
    """
    clean = load(settings.train, settings.columns, needs=("text", "topic"))
    for warning in check_training(clean, settings.train):
        log.warning(warning)
    if settings.validation is None:
        train, validation = _split(clean, settings.validation_share, seed)
    else:
        train, validation = clean, load(settings.validation, settings.columns, needs=("text", "topic"))
        check_disjoint(train, validation, settings.train, settings.validation)
    topics = Topics.from_labels(str(record.topic) for record in train)
    check_known_topics(validation, topics, settings.validation or settings.train)
    noisy = _noisy(settings, topics, validation) if settings.noisy else None
    log.info("%d topics; %d rows to train on, %d to validate on", len(topics), len(train), len(validation))
    return Sets(train, validation, noisy, topics)


def _split(clean: Sequence[Record], share: float, seed: int) -> tuple[list[Record], list[Record]]:
    rest, held_out = stratified_split([str(record.topic) for record in clean], share, seed)
    train, validation = [clean[i] for i in rest], [clean[i] for i in held_out]
    repeated = {record.id for record in overlapping(validation, train)}
    if repeated:
        log.warning("%d held-out rows repeat a text of the training set: they are trained on instead", len(repeated))
        train += [record for record in validation if record.id in repeated]
        validation = [record for record in validation if record.id not in repeated]
    return train, validation


def _noisy(settings: DataSettings, topics: Topics, validation: Sequence[Record]) -> list[Record]:
    rows = load(str(settings.noisy), settings.columns, needs=("text", "topic"))
    known = [record for record in rows if record.topic in topics]
    leaks = {record.id for record in overlapping(known, validation)}
    kept = [record for record in known if record.id not in leaks]
    if len(kept) < len(rows):
        log.warning(
            "%s: left out %d rows whose topic is not in the clean set and %d that stand in the validation set",
            settings.noisy,
            len(rows) - len(known),
            len(known) - len(kept),
        )
    return kept
