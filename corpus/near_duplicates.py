"""Texts that are nearly the same: MinHash with locality-sensitive hashing, by datasketch. Knows texts alone."""

import zlib
from typing import Any

from .checks import text_key

_PERMUTATIONS = 128
_WORDS = 3
_CHARACTERS = 5
_FEW_WORDS = 8  # shorter texts, and scripts without spaces, are compared by characters


class NearDuplicates:
    """A growing set of texts that finds one similar to a new text.

    Similarity is the Jaccard index of the texts' three-word sequences (for short texts, five-character sequences),
    letter case and white space aside. MinHash finds candidates, which are then compared exactly.

    Args:
        similarity: Least similarity of two texts that count as the same, in (0, 1].
    """

    def __init__(self, similarity: float) -> None:
        import datasketch  # imported here: it takes a quarter of a second, which readers of records should not pay

        self._make = datasketch.MinHash
        # A little lower, because hashes only estimate; the exact comparison follows.
        self._index: Any = datasketch.MinHashLSH(threshold=max(0.1, similarity - 0.1), num_perm=_PERMUTATIONS)
        self._similarity = similarity
        self._texts: list[tuple[str, set[str]]] = []

    def add(self, name: str, text: str) -> None:
        """Add a text under a name, which other texts may share."""
        shingles = _shingles(text)
        self._index.insert(len(self._texts), self._hashes(shingles))
        self._texts.append((name, shingles))

    def like(self, text: str) -> str | None:
        """The name of the most similar text; None if none is similar enough."""
        own = _shingles(text)
        best, name = self._similarity, None
        for found in self._index.query(self._hashes(own)):
            other_name, shingles = self._texts[found]
            likeness = len(own & shingles) / len(own | shingles)
            if likeness >= best:
                best, name = likeness, other_name
        return name

    def _hashes(self, shingles: set[str]) -> Any:
        hashes = self._make(num_perm=_PERMUTATIONS, hashfunc=zlib.crc32)
        hashes.update_batch([shingle.encode("utf-8", "replace") for shingle in shingles])
        return hashes


def _shingles(text: str) -> set[str]:
    key = text_key(text)
    words = key.split()
    if len(words) < _FEW_WORDS:
        return {key[i : i + _CHARACTERS] for i in range(max(1, len(key) - _CHARACTERS + 1))}
    return {" ".join(words[i : i + _WORDS]) for i in range(len(words) - _WORDS + 1)}
