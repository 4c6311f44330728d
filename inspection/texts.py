"""Describes texts and targets: lengths in tokens, scripts, repeated targets. Knows tokenizers, but no model."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache

import numpy as np

from ..common import UserError, first_line
from ..corpus import Record
from ..decoder import DecoderSettings
from ..encoder import EncoderSettings
from ..runtime import encode_user_text, read_tokenizer, train_tokenizer
from .results import Lengths, RepeatedTarget, Targets

LONGEST = 8192  # most tokens to count
MOST_TARGETS = 20
_MARKS = 2  # special tokens at a text's start and end
_CJK = {"CJK": "Han", "HIRAGANA": "Japanese", "KATAKANA": "Japanese"}


def text_lengths(texts: Sequence[str], settings: EncoderSettings) -> Lengths:
    """Lengths of texts as the encoder reads them.

    Raises:
        UserError: If the base has no tokenizer.
    """
    return _lengths(texts, texts, settings.base, settings.scratch.vocabulary, settings.max_tokens - _MARKS)


def read_tokens(lengths: Lengths) -> float:
    """An estimate of the mean number of tokens read from a text, for the skewed lengths that texts have."""
    return min(lengths.limit, lengths.median + (lengths.p95 - lengths.median) / 4)


def describe_targets(records: Sequence[Record], settings: DecoderSettings | None) -> Targets:
    """The records' targets, and their lengths for the decoder.

    Raises:
        UserError: If the base has no tokenizer.
    """
    targets = [(str(record.target), str(record.topic)) for record in records if record.target]
    counts = Counter(target for target, _ in targets)
    topics = defaultdict(set)
    for target, topic in targets:
        topics[target].add(topic)
    most = [(target, rows) for target, rows in counts.most_common(MOST_TARGETS) if rows > 1]
    lengths = None
    if settings is not None and targets:
        texts, own = [record.text for record in records], [target for target, _ in targets]
        learnt = [*texts, *own]
        lengths = _lengths(own, learnt, settings.base, settings.scratch.vocabulary, settings.max_target_tokens)
    return Targets(
        rows=len(targets),
        missing=len(records) - len(targets),
        distinct=len(counts),
        repeated=sum(rows for rows in counts.values() if rows > 1),
        lengths=lengths,
        most=[RepeatedTarget(target=target, rows=rows, topics=len(topics[target])) for target, rows in most],
    )


def scripts(texts: Sequence[str]) -> dict[str, int]:
    """Rows by the script of most of their letters, most frequent first; rows without letters count as "none"."""
    found = Counter(_script(text) for text in texts)
    return dict(found.most_common())


def _script(text: str) -> str:
    if text.isascii():
        return "Latin" if any(letter.isalpha() for letter in text) else "none"
    letters = Counter(_script_of(letter) for letter in text if letter.isalpha())
    return letters.most_common(1)[0][0] if letters else "none"


@cache
def _script_of(letter: str) -> str:
    """The script of a letter: the first word of its Unicode name, because Python has no table of scripts."""
    word = unicodedata.name(letter, "unknown").split()[0].split("-")[0]
    return _CJK.get(word, word.capitalize())


def _lengths(texts: Sequence[str], learnt: Sequence[str], base: str | None, vocabulary: int, limit: int) -> Lengths:
    try:
        tokenizer = read_tokenizer(base) if base else train_tokenizer(learnt, vocabulary)
    except UserError:
        raise
    except Exception as error:  # of any kind: the files may contain anything
        raise UserError(
            f"the tokenizer of {base!r} cannot be read ({first_line(error)}): give a hub id or folder"
        ) from error
    found = np.array([len(row) for row in encode_user_text(tokenizer, texts, LONGEST)])
    return Lengths(
        tokenizer=base or f"trained on these rows, at most {vocabulary:,} tokens",
        median=int(np.median(found)),
        p95=int(np.quantile(found, 0.95)),
        longest=int(found.max()),
        limit=limit,
        cut=int((found > limit).sum()),
    )
