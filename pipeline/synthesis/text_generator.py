"""Writes new texts of a topic with a decoder: its training records and its prompts. Knows no encoder.

A text generator is an ordinary decoder, fitted on derived records. Either a numbered cue and the topic lead to the
whole text ("new"), or the text with spans left out leads to the whole text ("paraphrase", as a denoising model learns
to fill gaps: Lewis et al. 2020, section 2.2). Whether a text has its topic is not checked here.
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
LEFT_OUT = 0.4  # share of a text's spans; with less, a paraphrase repeats its original
_NUMBERS = 1000
_AT_ONCE = 512

Source = Literal["new", "paraphrase"]


@dataclass(frozen=True)
class Candidate:
    """A written text, its topic, and whether it came from the topic alone or from which record."""

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
    """Fit a text generator on the texts of both sets, resumably. Arguments and errors as in `fit_decoder`.

    Args:
        train: Clean set; each row gives a record of both kinds.
        validation: Held-out clean rows.
        noisy: Noisy set; its rows give a record of one kind each, in turn.
        topics: Topics of the clean set.
        settings: Settings from `generator_settings`.
        folder: Folder of checkpoints and logs.
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
    """The settings of a text generator on the same base as a decoder with `settings`.

    Rows of rare topics are sampled more often, and the prompt asks for a text.

    Args:
        settings: Settings of the decoder.
        max_text_tokens: Most tokens of a written text; None takes as many as that decoder reads.
    """
    return replace(
        settings,
        prompt="plain" if settings.base is None else PROMPT,
        max_target_tokens=max_text_tokens or settings.max_tokens,
        condition="token",
        topic_loss=None,
        noisy_topic_loss=None,
        text_swap=0.0,
        sampling_ratio=BALANCED_RATIO,
        fairness=False,
    )


def write_candidates(
    generator: TopicDecoder,
    numbers: Mapping[str, Sequence[int]],
    records: Mapping[str, Sequence[Record]],
    options: GenerationSettings,
) -> Iterator[Candidate]:
    """Yield texts of each topic: new ones for even numbers, paraphrases of its records in turn for odd numbers.

    Args:
        generator: Text generator from `fit_text_generator`.
        numbers: Numbers of the texts to write, by topic. The same number, topic and seed give the same text.
        records: Rows to paraphrase, by topic; a topic without rows gets only new texts.
        options: Settings of generation.
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
    """The input for one candidate, and the candidate without its text."""
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
    """A number that makes texts of one topic differ: a text depends only on input, topic and seed."""
    return str(number)


def _with_gaps(text: str, view: int, key: str) -> str:
    words = text.split()
    return " ".join(words[i] for i in span_dropout(range(len(words)), view, key, share=LEFT_OUT))
