"""Writes the newsroom as files to fit on. Draws nothing itself."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..common import UserError, check_seed, output_folder, refuse_existing, replacing_folder, write_jsonl, write_text
from .newsroom import Newsroom
from .records import Record

MARKER = "newsroom.json"


def write_newsroom(
    folder: str | Path,
    *,
    difficulty: float = 0.5,
    seed: int = 0,
    train_largest: int = 500,
    ratio: float = 100.0,
    noisy: int = 12_000,
    noisy_ratio: float = 30.0,
    flip_rate: float = 0.3,
    test: int = 1_200,
) -> Newsroom:
    """Write a newsroom's sets and its card; replaces an existing newsroom completely.

    train.jsonl          the clean set: a long tail from `train_largest` rows down to a `ratio`-th of it noisy.jsonl
    `noisy` rows under a milder long tail, `flip_rate` of them with a wrong topic test.jsonl           `test` rows,
    equal topic shares test_natural.jsonl   `test` rows under the training prior newsroom.json        difficulty and
    seed, which give the exact posterior again README.md            the contents, and the best that any classifier can
    reach

    Args:
        folder: The folder to write.
        difficulty: 0 to 1: how much the topics' vocabularies overlap.
        seed: Random seed of the world and of every set.
        train_largest: Rows of the most frequent topic of the clean set.
        ratio: Most frequent to rarest topic in the clean set.
        noisy: Rows of the noisy set.
        noisy_ratio: Most frequent to rarest topic in the noisy set, before labels flip.
        flip_rate: Share of wrong topics in it.
        test: Rows of each test set.

    Returns:
        The newsroom the sets come from.

    Raises:
        UserError: If a setting is out of its range, or the folder cannot be written or contains something else.
    """
    check_seed(seed)
    folder = output_folder(folder)
    refuse_existing(folder, overwrite=True, marker=MARKER)
    room = Newsroom(difficulty, seed)
    if noisy < 0 or test < len(room.topics):
        raise UserError(
            f"newsroom: noisy is {noisy} and test {test}; give at least 0 noisy rows, and {len(room.topics)} test "
            "rows, one per topic"
        )
    counts = room.long_tail_counts(train_largest, ratio)
    noisy_prior = room.long_tail_counts(train_largest, noisy_ratio)
    true_noisy = room.sample(noisy, noisy_prior, [seed, 2], "noisy")
    sets = {
        "train": room.sample_counts(counts, [seed, 1], "train"),
        "noisy": room.flip(true_noisy, flip_rate, noisy_prior, [seed, 3]),
        "test": room.sample_counts(_evenly(test, len(room.topics)), [seed, 4], "test"),
        "test_natural": room.sample(test, counts, [seed, 5], "natural"),
    }
    with replacing_folder(folder) as place:
        for name, records in sets.items():
            write_jsonl(place / f"{name}.jsonl", (record.to_row() for record in records))
        write_text(place / MARKER, json.dumps({"difficulty": difficulty, "seed": seed}) + "\n")
        write_text(place / "README.md", _card(room, sets, counts, flip_rate))
    return room


def _evenly(rows: int, parts: int) -> list[int]:
    return [rows // parts + (i < rows % parts) for i in range(parts)]


def _card(room: Newsroom, sets: Mapping[str, Sequence[Record]], counts: Sequence[int], flip_rate: float) -> str:
    natural = sets["test_natural"]
    predicted = room.bayes_predict([record.text for record in natural], counts)
    accuracy = np.mean([topic == record.topic for topic, record in zip(predicted, natural, strict=True)])
    ceiling, copied = (np.mean(list(room.bayes_recall(sets["test"], prior).values())) for prior in (None, counts))
    rows = {name: Counter(record.topic for record in records) for name, records in sets.items()}
    lines = [
        "# The newsroom",
        "",
        f"Synthetic news of {len(room.topics)} topics in families of siblings; difficulty {room.difficulty:g}, "
        f"seed {room.seed}. P(text | topic) is known, and so is the best that any classifier can reach.",
        f"In noisy.jsonl {flip_rate:.0%} of the topics are wrong, flipped toward frequent topics and siblings; "
        "its targets are those of the true topic.",
        "",
        "| the best possible classifier | on test.jsonl | on endless text |",
        "|---|---|---|",
        f"| balanced accuracy: the ceiling | {ceiling:.3f} | {room.bayes_balanced_accuracy()} |",
        f"| the same, if it copies the training prior | {copied:.3f} | {room.bayes_balanced_accuracy(counts)} |",
        "",
        f"On test_natural.jsonl the best possible accuracy is {accuracy:.3f}.",
        "",
        "| topic | family | train | noisy | test | test_natural |",
        "|---|---|---|---|---|---|",
        *(
            f"| {topic} | {family} | " + " | ".join(str(rows[name][topic]) for name in sets) + " |"
            for topic, family in zip(room.topics, room.families, strict=True)
        ),
    ]
    return "\n".join(lines) + "\n"
