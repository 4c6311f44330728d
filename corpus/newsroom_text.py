"""Lays content words and facts out as a newsroom text, and writes the target sentence of a topic about the facts.

Knows the frames of `newsroom_words`, not the topics' probabilities: nothing drawn here depends on the topic, so the
layout cancels from every posterior.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .newsroom_words import (
    COMMON,
    CONTENT_FRAMES,
    CONTENT_SENTENCES,
    CONTENT_WORDS,
    FACT_FRAMES,
    NUMBERS,
    PEOPLE,
    PLACES,
    TOPICS,
)

_WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a text states and its target repeats."""

    name: str
    place: str
    number: int


def draw_facts(n: int, rng: np.random.Generator) -> list[Facts]:
    """Draw `n` independent facts, each of the three uniform over its closed list."""
    names = rng.integers(len(PEOPLE), size=n).tolist()
    places = rng.integers(len(PLACES), size=n).tolist()
    numbers = rng.integers(NUMBERS[0], NUMBERS[1] + 1, size=n).tolist()
    return [Facts(PEOPLE[a], PLACES[b], c) for a, b, c in zip(names, places, numbers, strict=True)]


def lay_out(topical: Sequence[Sequence[str]], facts: Sequence[Facts], rng: np.random.Generator) -> list[str]:
    """Write one text per list of topical words: four content sentences and two fact sentences, in random order.

    Common words fill each text up to the number of content words it wants. All frames of a text differ.
    """
    n = len(topical)
    fewest, most = CONTENT_WORDS
    totals = rng.integers(fewest, most + 1, size=n).tolist()
    fillers = rng.integers(len(COMMON), size=(n, most)).tolist()
    keys = rng.random((n, most)).tolist()
    frames = rng.random((n, len(CONTENT_FRAMES))).argsort(axis=1)[:, :CONTENT_SENTENCES].tolist()
    plans = rng.integers(len(FACT_FRAMES), size=n).tolist()
    orders = rng.random((n, CONTENT_SENTENCES + 2)).argsort(axis=1).tolist()
    texts = []
    for i, words in enumerate(topical):
        content = _shuffled([*words, *(COMMON[j] for j in fillers[i][len(words) : totals[i]])], keys[i])
        sentences = [
            CONTENT_FRAMES[frame].format(_listed(content[part::CONTENT_SENTENCES]))
            for part, frame in enumerate(frames[i])
        ]
        sentences += [_fill(frame, facts[i]) for frame in FACT_FRAMES[plans[i]]]
        texts.append(" ".join(sentences[j] for j in orders[i]))
    return texts


def write_target(topic: str, facts: Facts) -> str:
    """Return the sentence that the desk of `topic` writes about the facts."""
    return _fill(TOPICS[topic].style, facts)


def lower_words(text: str) -> list[str]:
    """Split a text into its lower-cased alphabetic words."""
    return _WORD.findall(text.lower())


def _fill(frame: str, facts: Facts) -> str:
    return frame.format(name=facts.name, place=facts.place, number=facts.number)


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _shuffled(words: Sequence[str], keys: Sequence[float]) -> list[str]:
    # Equal words get equal keys and become neighbours, so dealing them out puts them into different sentences.
    key = dict(zip(words, keys, strict=False))
    return sorted(words, key=key.__getitem__)
