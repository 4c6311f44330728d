"""A first pass of stage 1 over a job's rows, which keeps its logits so that the job does not read these rows again.

Knows the pipeline's stage 1; knows no prior and no output. A row that the encoder cannot process is left out here; the
job itself reports it as an error. Logits are computed in the windows of the job's shards, so that a shard gets the same
bytes with and without kept logits.
"""

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from ..common import ProgressCallback, ProgressKind, show_progress
from ..pipeline import PredictOptions
from .bisection import Failure, NotFiniteError, bisected
from .model import ModelHandle

if TYPE_CHECKING:
    from torch import Tensor

    from ..balance import TargetPrior
    from ..pipeline import Result
    from ..runtime import Usage

log = logging.getLogger("unskew")

MOST_KEPT = 1 << 24  # numbers: 64 MiB


@dataclass
class FirstPass:
    """A pipeline that has read rows, as a predictor of shards.

    Attributes:
        pipeline: The pipeline.
        logits: Logits (n, C) of the rows that it could read.
        kept: Logits of whole shards and the work they took, by fingerprint of the texts.
        seconds: Seconds that the other rows took.
        claimed: Work of the first pass for shards that have been predicted since.
    """

    pipeline: Any
    logits: "Tensor"
    kept: "dict[bytes, tuple[Tensor, Usage]]"
    seconds: float = 0.0
    claimed: "list[Usage]" = field(default_factory=list)

    def with_target_prior(self, prior: "TargetPrior") -> "FirstPass":
        """The same for another target prior."""
        return replace(self, pipeline=self.pipeline.with_target_prior(prior))

    def __call__(self, texts: Sequence[str], **options: Any) -> "Iterator[Result]":
        """Results as the pipeline's, from kept logits if there are any of exactly these texts."""
        kept = self.kept.pop(_fingerprint(texts), None)
        if kept is None:
            return self.pipeline(texts, **options)
        self.claimed.append(kept[1])
        return self.pipeline.results(texts, kept[0], PredictOptions(**options))

    def plain_prior(self, kind: Literal["adaptive", "estimate"]) -> dict[str, Any]:
        """The prior of the rows that were read, as a job's manifest has it: `shares`, `intervals`, `said`, `seconds`.

        Raises:
            UserError: For "estimate", if the rows do not determine it; "adaptive" never refuses.
        """
        from ..balance import target_of_rows

        found = target_of_rows(kind, self.pipeline.corrector, self.logits)
        intervals = dict(zip(found.topics.names, found.intervals, strict=False))
        return {"shares": found.shares, "intervals": intervals, "said": str(found), "seconds": round(self.seconds, 3)}

    @property
    def seconds_per_row(self) -> float:
        """Seconds that each row with kept logits took."""
        used = [usage for _, usage in self.kept.values()]
        return sum(own.seconds for own in used) / max(1, sum(own.rows for own in used))

    @property
    def claimed_seconds(self) -> float:
        """Seconds of the first pass for shards that have been predicted since."""
        return sum(own.seconds for own in self.claimed)

    @property
    def usage(self) -> "dict[str, Usage]":
        """The work of each stage; that of the first pass counts when its shard is predicted."""
        found = self.pipeline.usage
        for own in self.claimed:
            found["encoder"].add(own.rows, own.tokens_read)
            found["encoder"].seconds += own.seconds
        return found


def read_texts(
    system: ModelHandle, rows: Sequence[str | None], shard_rows: int, keep: bool, progress: ProgressKind = "none"
) -> FirstPass:
    """Read the texts of some rows of a job in shards of `shard_rows`; rows without a text are None.

    Args:
        system: System of the job.
        rows: Texts.
        shard_rows: Rows of a shard.
        keep: Whether these are all rows of the job, so that their logits are kept.
        progress: View of the progress.

    Raises:
        UserError: If the pipeline gives numbers that are not finite even for a harmless text.
    """
    import torch

    pipeline: Any = system.load(None)
    found, kept, numbers, begun = [torch.empty(0, len(system.topics))], {}, 0, time.perf_counter()
    with show_progress(progress, "stage 1", len(rows)) as tell:
        for shard in (rows[start : start + shard_rows] for start in range(0, len(rows), shard_rows)):
            texts = [text for text in shard if text is not None]
            tell(len(shard) - len(texts), 0)
            before = pipeline.usage["encoder"]
            windows = [texts[start : start + system.window] for start in range(0, len(texts), system.window)]
            parts = [part for held in windows for part in _read(pipeline, held, tell)]
            good = [part for part in parts if not isinstance(part, Failure)]
            if len(good) < len(parts):
                log.warning("%d rows were left out of the estimate of the target prior", len(parts) - len(good))
            found += good
            numbers += len(texts) * len(system.topics)
            # A bisected window was read in other batches than the job's.
            if keep and numbers <= MOST_KEPT and good and len(good) == len(parts) == len(windows):
                kept[_fingerprint(texts)] = torch.cat(good), pipeline.usage["encoder"].since(before)
    seconds = time.perf_counter() - begun - sum(usage.seconds for _, usage in kept.values())
    return FirstPass(pipeline, torch.cat(found), kept, seconds)


def prior_of_texts(
    system: ModelHandle, rows: Sequence[str | None], shard_rows: int, kind: Literal["adaptive", "estimate"]
) -> dict[str, Any]:
    """The plain prior of these rows, for another process."""
    return read_texts(system, rows, shard_rows, keep=False).plain_prior(kind)


def _fingerprint(texts: Sequence[str]) -> bytes:
    sums = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        sums.update(len(encoded).to_bytes(8, "little") + encoded)
    return sums.digest()


def _read(pipeline: Any, texts: Sequence[str], tell: ProgressCallback) -> "list[Tensor | Failure]":
    parts = list(bisected(partial(_logits, pipeline), texts))
    tell(len(texts), 0)
    return parts


def _logits(pipeline: Any, texts: Sequence[str]) -> "Tensor":
    logits = pipeline.encoder.logits(texts)
    if not logits.isfinite().all():
        raise NotFiniteError("the encoder's logits are not numbers")
    return logits
