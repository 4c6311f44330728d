"""Which topic is named by what a decoder writes freely. Knows tokens and lines, no model."""

from collections.abc import Sequence

from .control import ControlTokens


def named_by_tokens(tokens: Sequence[int], control: ControlTokens) -> list[str | None]:
    """The topic whose token each of these is; None for any other token."""
    names = dict(zip(control.topic_ids, control.topics, strict=True))
    return [names.get(token) for token in tokens]


def named_in_texts(texts: Sequence[str], topics: Sequence[str]) -> list[str | None]:
    """The topic whose name is the first line of each text, letter case and white space around it aside; else None."""
    names = {name.strip().casefold(): name for name in topics}
    return [names.get(text.lstrip().partition("\n")[0].strip().casefold()) for text in texts]
