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
    CONTENT_WORDS,
    CONTENT_FRAMES,
    CONTENT_SENTENCES,
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


def fill_up(topical: Sequence[Sequence[str]], rng: np.random.Generator) -> list[list[str]]:
    """Mix each list of topical words with common ones, in random order, until it has as many words as a text wants."""
    fewest, most = CONTENT_WORDS
    n = len(topical)
    totals = rng.integers(fewest, most + 1, size=n).tolist()
    common = rng.integers(len(COMMON), size=(n, most)).tolist()
    keys = rng.random((n, most)).tolist()
    filled = []
    for words, total, fillers, key in zip(topical, totals, common, keys, strict=True):
        every = [*words, *(COMMON[i] for i in fillers[len(words) : total])]
        filled.append([word for _, word in sorted(zip(key, every, strict=False))])
    return filled


def lay_out(
    contents: Sequence[Sequence[str]], facts: Sequence[Facts], rng: np.random.Generator
) -> list[str]:
    """Write one text per list of content words: four content sentences and two fact sentences in random order.

    The content words keep their order only within a sentence, which no bag of words minds. All frames of a text differ.
    """
    n = len(contents)
    frames = rng.random((n, len(CONTENT_FRAMES))).argsort(axis=1)[:, :CONTENT_SENTENCES].tolist()
    plans = rng.integers(len(FACT_FRAMES), size=n).tolist()
    orders = rng.random((n, CONTENT_SENTENCES + 2)).argsort(axis=1).tolist()
    texts = []
    for words, stated, chosen, plan, order in zip(contents, facts, frames, plans, orders, strict=True):
        sentences = [
            CONTENT_FRAMES[frame].format(_listed(words[i::CONTENT_SENTENCES])) for i, frame in enumerate(chosen)
        ]
        sentences += [_fill(frame, stated) for frame in FACT_FRAMES[plan]]
        texts.append(" ".join(sentences[i] for i in order))
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
