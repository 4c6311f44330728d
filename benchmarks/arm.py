"""What an arm of `throughput.py` is: a way to run one stage or both over rows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unskew.runtime import has_bfloat16

BATCHES = (1, 4, 16, 32, 64)  # tried by arms that take a batch size; the fastest is taken

Rows = dict[str, Any]  # what `throughput.prepare` writes
Run = Callable[[slice, int], Any]  # of these rows, in batches of so many where the arm does not make its own
Stages = dict[str, Run]  # "encoder", "decoder" or both; a decoder returns the texts that it wrote


@dataclass(frozen=True)
class Arm:
    """A way to run the models.

    Args:
        load: Loads the models from a folder of `throughput.prepare`, for these rows.
        convert: Writes them in the format of another runtime first, into that folder; not timed.
        batches: Sizes of batches to try; one if the arm makes its own.
        libraries: Modules that are imported before loading is timed.
    """

    load: Callable[[Path, Rows], Stages]
    convert: Callable[[Path], Any] | None = None
    batches: tuple[int, ...] = (1,)
    libraries: tuple[str, ...] = ()

    @property
    def to_tune(self) -> bool:
        """Whether there is something to convert or to try before it is measured."""
        return self.convert is not None or len(self.batches) > 1


def in_batches(part: slice, batch: int, count: int) -> list[slice]:
    """The part of so many rows as slices of at most `batch` rows."""
    rows = range(count)[part]
    return [slice(start, min(start + batch, rows.stop)) for start in range(rows.start, rows.stop, batch)]


def need_bfloat16() -> None:
    """Raise an error on a processor without bfloat16, where OpenVINO would compute in float32 without a word."""
    if not has_bfloat16():
        raise RuntimeError("this processor has no bfloat16")
