"""Topics with their counts in the training set, and the priors and bands that follow from the counts.

Knows nothing of files or models.
"""

import difflib
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from ..common import UserError

Band = Literal["many", "medium", "few"]
BANDS: tuple[Band, ...] = ("many", "medium", "few")


def band(count: float) -> Band:
    """The band of a topic with `count` training rows: many (over 100), medium (20 to 100), few (under 20).

    The thresholds are those of the long-tail literature (Liu et al. 2019, arXiv 1904.05160, section 5.1).
    """
    if count > 100:
        return "many"
    return "medium" if count >= 20 else "few"


@dataclass(frozen=True)
class Topics:
    """The topics in their fixed order, with their training counts; the position of a name is its class index.

    Counts of weighted rows are sums of weights, so they need not be whole.

    Raises:
        UserError: If a name is empty or occurs twice, a count is negative, or there are no rows at all.
    """

    names: tuple[str, ...]
    counts: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.counts):
            raise UserError(f"{len(self.names)} topics but {len(self.counts)} counts; give one count per topic")
        if not all(isinstance(name, str) and name for name in self.names):
            raise UserError("a topic has no name; give every topic a non-empty string")
        twice = [name for name, times in Counter(self.names).items() if times > 1]
        if twice:
            raise UserError(f"the topic {twice[0]!r} occurs twice in the list of topics; name it once")
        if not all(0 <= count < math.inf for count in self.counts) or not sum(self.counts):
            raise UserError("topics need counts of zero or more, and at least one row in all")

    @classmethod
    def from_labels(cls, labels: Iterable[str]) -> "Topics":
        """The topics of a training set, most frequent first, ties in the order of their names."""
        counted = sorted(Counter(labels).items(), key=lambda item: (-item[1], item[0]))
        return cls(tuple(name for name, _ in counted), tuple(count for _, count in counted))

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Topics":
        """The inverse of `to_dict`.

        Raises:
            UserError: If `stored` has no lists "names" and "counts".
        """
        try:
            return cls(tuple(stored["names"]), tuple(stored["counts"]))
        except (KeyError, TypeError) as error:
            raise UserError('stored topics must be {"names": [...], "counts": [...]}') from error

    def to_dict(self) -> dict[str, list[Any]]:
        """Plain lists for JSON."""
        return {"names": list(self.names), "counts": list(self.counts)}

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._position

    @cached_property
    def _position(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.names)}

    @cached_property
    def prior(self) -> tuple[float, ...]:
        """The training prior: shares of the counts (C,), which sum to 1."""
        total = sum(self.counts)
        return tuple(count / total for count in self.counts)

    @cached_property
    def bands(self) -> tuple[Band, ...]:
        """The band of each topic."""
        return tuple(band(count) for count in self.counts)

    def index(self, name: str) -> int:
        """The class index of a topic.

        Raises:
            UserError: If the topic is unknown; names the nearest known one.
        """
        try:
            return self._position[name]
        except (KeyError, TypeError):
            raise UserError(f"unknown topic {name!r}; {self.hint(name)}") from None

    def encode(self, labels: Iterable[str]) -> list[int]:
        """The class index of each label; `index` says what it raises."""
        return [self.index(label) for label in labels]

    def hint(self, name: Any) -> str:
        """A suggestion for an unknown name: the nearest known topic, else the first known topics."""
        if not isinstance(name, str):
            return "a topic's name is a string: put quotes around it, because YAML reads no, yes and null as values"
        near = difflib.get_close_matches(name, self.names, n=1)
        if near:
            return f"did you mean {near[0]!r}?"
        shown = ", ".join(self.names[:12]) + (", ..." if len(self) > 12 else "")
        return f"the {len(self)} known topics are: {shown}"


def spelling_key(name: str) -> str:
    """A key that is equal for names that differ only in case, blanks or Unicode form."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def spellings(labels: Iterable[str]) -> dict[str, list[str]]:
    """The labels by their `spelling_key`, the most frequent first, ties in the order of their names."""
    counts = Counter(labels)
    alike: dict[str, list[str]] = defaultdict(list)
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        alike[spelling_key(name)].append(name)
    return dict(alike)
