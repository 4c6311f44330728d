"""New texts of a topic, written by a decoder: what it learns from, and what it is asked for. Knows no encoder.

A writer is a decoder like any other, fitted on derived records: a numbered cue and the topic lead to the whole text
("new"), or the text with spans left out leads back to it ("paraphrase", as a denoising model learns to fill gaps:
Lewis et al. 2020, section 2.2). Whether what it writes is of its topic is for others to judge.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ...balance import span_dropout
from ...corpus import Record, Topics
from ...decoder import BALANCED_RATIO, DecoderSettings, GenerationSettings, TopicDecoder, fit_decoder

PROMPT = (
    "Write a text of the topic. If only a number is given, write a new text; if a text with gaps is given, "
    "write it out in words of your own.\n\nGiven: {text}\n\nTopic and text: "
)
LEFT_OUT = 0.4  # share of a text's spans: with less, a paraphrase is its original
_NUMBERS = 1000
_AT_ONCE = 512

Source = Literal["new", "paraphrase"]


@dataclass(frozen=True)
class Candidate:
    """A written text: of which topic, whether from the topic alone, or from which record."""

    text: str
    topic: str
    source: Source
    paraphrase_of: str | None


def fit_text_generator(
    train: Sequence[Record],
    validation: Sequence[Record],
    noisy: Sequence[Record] | None,
    topics: Topics,
    settings: DecoderSettings,
    folder: str | Path,
    seed: int = 0,
) -> TopicDecoder:
    """Fit a writer on the texts of both sets, resumably; arguments and errors are those of `fit_decoder`.

    Args:
        train: The clean set; each row teaches both kinds.
        validation: Held out of it.
        noisy: The noisy set; its rows teach one kind each, in turn.
        topics: Topics of the clean set.
        settings: From `generator_settings`.
        folder: Where checkpoints and logs go.
        seed: Random seed.
    """
    return fit_decoder(
        [lesson for row in train for lesson in _lessons(row, seed)],
        [lesson for row in validation for lesson in _lessons(row, seed)],
        [_lessons(row, seed)[i % 2] for i, row in enumerate(noisy)] if noisy else None,
        topics,
        settings,
        folder,
        seed,
    )


def generator_settings(settings: DecoderSettings, max_text_tokens: int | None = None) -> DecoderSettings:
    """The settings of a writer on the same base as a decoder with `settings`.

    The rows of rare topics, which it is for, are drawn more often; the prompt asks for a text.

    Args:
        settings: Settings of the decoder.
        max_text_tokens: Most tokens of a text to write; None takes as many as that decoder reads.
    """
    return replace(
        settings,
        prompt="plain" if settings.base is None else PROMPT,
        max_target_tokens=max_text_tokens or settings.max_tokens,
        condition="token",
        topic_loss=None,
        noisy_topic_loss=None,
        sampling_ratio=BALANCED_RATIO,
        fairness=False,
    )


def write_candidates(
    generator: TopicDecoder,
    numbers: Mapping[str, Sequence[int]],
    records: Mapping[str, Sequence[Record]],
    options: GenerationSettings,
) -> Iterator[Candidate]:
    """Yield texts of each topic: under even numbers new ones, under odd ones paraphrases of its records in turn.

    Args:
        generator: From `fit_text_generator`.
        numbers: Which texts to write, by topic: one of the same number, topic and seed is the same text.
        records: The rows to paraphrase, by topic; a topic without gets new texts alone.
        options: How they are written.
    """
    asked = [
        _ask(topic, number, records.get(topic, ()), options.seed) for topic, own in numbers.items() for number in own
    ]
    for first in range(0, len(asked), _AT_ONCE):
        held = asked[first : first + _AT_ONCE]
        texts = generator.generate([given for given, _ in held], [empty.topic for _, empty in held], options)
        for (_, empty), text in zip(held, texts, strict=True):
            yield replace(empty, text=text)


def _ask(topic: str, number: int, records: Sequence[Record], seed: int) -> tuple[str, Candidate]:
    """What is put in for one candidate, and the candidate without its text."""
    if number % 2 == 0 or not records:
        return _cue(number), Candidate("", topic, "new", None)
    turn, place = divmod(number // 2, len(records))
    record = records[place]
    return _with_gaps(record.text, turn + 1, f"{seed}/write/{record.id}"), Candidate("", topic, "paraphrase", record.id)


def _lessons(record: Record, seed: int) -> tuple[Record, Record]:
    key = f"{seed}/learn/{record.id}"
    cue = _cue(random.Random(key).randrange(_NUMBERS))
    return (
        replace(record, text=cue, target=record.text),
        replace(record, text=_with_gaps(record.text, 1, key), target=record.text),
    )


def _cue(number: int) -> str:
    """A number, so that texts of one topic differ: what is written depends on what is given, topic and seed alone."""
    return str(number)


def _with_gaps(text: str, view: int, key: str) -> str:
    words = text.split()
    return " ".join(words[i] for i in span_dropout(range(len(words)), view, key, share=LEFT_OUT))
