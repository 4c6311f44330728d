"""The rows of an ablation: training and validation rows of each seed, and the test rows of all.

Knows sets of records, but no model.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from ..common import UserError, file_fingerprint
from ..corpus import Record, Topics, check_disjoint, check_known_topics, source_files, stratified_split, unlike
from ..pipeline import TrainingData, load_labelled, read_sets
from .settings import AblationSettings

log = logging.getLogger("unskew")


@dataclass(frozen=True)
class TestRows:
    """The test rows of every arm.

    Attributes:
        records: The rows (n).
        topics: The topics in the order of every figure, with their clean training counts.
        targets: Index of each row's topic (n,).
        outputs: The rows for which an output is written.
    """

    __test__ = False  # otherwise pytest would collect the class by its name

    records: list[Record]
    topics: Topics
    targets: list[int]
    outputs: list[int]

    @property
    def texts(self) -> list[str]:
        """Texts of all rows."""
        return [record.text for record in self.records]


def read_training(
    settings: AblationSettings, seed: int, cache: Path | None = None, *, synthetic: bool = False
) -> TrainingData:
    """The sets of one seed, within the budget; with the synthetic rows if they are asked for.

    The noisy rows are stored in the folder `cache`, which all seeds and arms share.

    Raises:
        UserError: If a set cannot be used, or a clean row, also one outside the budget, has the text of a test row.
    """
    data = settings.data if synthetic else replace(settings.data, synthetic=None)
    targets = any(arm.write for arm in settings.chosen.values())
    whole = read_sets(data, seed, targets=targets, cache=cache)
    sets = _within(settings, _without_test(settings, whole), seed)
    log.info("seed %d: %s", seed, sets)
    return sets


def _without_test(settings: AblationSettings, sets: TrainingData) -> TrainingData:
    """The sets without the noisy and synthetic rows that have the text of a test row; such a clean row is refused."""
    test, _ = load_labelled(settings.test, settings.data.columns)
    clean = [record for record in sets.train if not record.synthetic]
    for name, rows in (("train", clean), ("validation", sets.validation)):
        check_disjoint(rows, test, f"the {name} rows", settings.test)
    train, noisy = list(unlike(sets.train, test)), sets.noisy and unlike(sets.noisy, test)
    _say_left_out(settings.data.synthetic, len(sets.train) - len(train), settings.test)
    _say_left_out(settings.data.noisy, len(sets.noisy or ()) - len(noisy or ()), settings.test)
    return replace(sets, train=train, noisy=noisy)


def _say_left_out(source: str | None, leaks: int, test: str) -> None:
    if leaks:
        log.warning("%s: left out %d rows with the text of a row of %s", source, leaks, test)


def _within(settings: AblationSettings, sets: TrainingData, seed: int) -> TrainingData:
    """The share of the sets that the budget allows."""
    if settings.budget == 1:
        return sets
    train = _share([record for record in sets.train if not record.synthetic], settings.budget, seed)
    synthetic = [record for record in sets.train if record.synthetic]
    topics = Topics.from_labels(str(record.topic) for record in train)
    noisy = sets.noisy and sets.noisy[: max(1, round(settings.budget * len(sets.noisy)))]
    validation = _share(sets.validation, settings.budget, seed)  # with few training rows, only a few can be held out
    return TrainingData(train + synthetic, validation, noisy, topics)


def read_test(settings: AblationSettings, training: TrainingData) -> TestRows:
    """The test rows.

    Raises:
        UserError: If they cannot be used, or have unknown topics.
    """
    records, _ = load_labelled(settings.test, settings.data.columns)
    check_known_topics(records, training.topics, settings.test)
    records = [records[i] for i in _some(records, settings.test_rows)]
    written = [i for i, record in enumerate(records) if record.target and record.target.strip()]
    outputs = [written[i] for i in _some([records[i] for i in written], settings.outputs)]
    if not outputs and any(arm.write for arm in settings.chosen.values()):
        raise UserError(
            f"{settings.test}: no row has a target, so outputs cannot be measured; name its column with "
            "--data.columns.target"
        )
    targets = training.topics.encode(str(record.topic) for record in records)
    return TestRows(records, training.topics, targets, outputs)


def _share(records: list[Record], share: float, seed: int) -> list[Record]:
    """This share of every topic, at least one row of each."""
    kept, _ = stratified_split([str(record.topic) for record in records], 1 - share, seed)
    return [records[i] for i in kept]


def contents(settings: AblationSettings) -> list[str | None]:
    """A fingerprint of each file of rows; None without a file. Datasets on a hub count by their name."""
    given = (settings.data.train, settings.data.noisy, settings.data.validation, settings.test, settings.newsroom)
    return [None if place is None else _contents(place) for place in given]


def synthetic_contents(settings: AblationSettings) -> str | None:
    """A fingerprint of the synthetic rows."""
    return None if settings.data.synthetic is None else _contents(settings.data.synthetic)


def changes_of_labels(settings: AblationSettings) -> dict[str, str | bool]:
    """What changes the labels in the files: a fingerprint of the corrections, merged spellings; empty if nothing."""
    corrections = settings.data.corrections
    changes = {
        "corrections": None if corrections is None else _contents(corrections),
        "merge_spellings": settings.data.merge_spellings,
    }
    return {name: value for name, value in changes.items() if value}


def _contents(place: str) -> str:
    return place if "://" in place else file_fingerprint(source_files(place))


def _some(records: list[Record], most: int | None) -> list[int]:
    """Row numbers in proportion to the topics, at least one for a topic with two rows; the same on each call."""
    if most is None or most >= len(records):
        return list(range(len(records)))
    return stratified_split([str(record.topic) for record in records], most / len(records), 0)[1]
