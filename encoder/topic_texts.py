"""A topic's name as the text of one more training row. Knows only strings."""

import re

_BREAKS = re.compile(r"[_\-./:|\s]+|(?<=[a-z0-9])(?=[A-Z])")


def name_as_text(name: str) -> str | None:
    """`flight_time` or `FlightTime` as "flight time"; None for a name without letters, which says nothing."""
    words = [word.lower() if word[1:].islower() else word for word in _BREAKS.split(name) if word]
    text = " ".join(words)
    return text if any(letter.isalpha() for letter in text) else None
