"""A first pass of stage 1 over a job's rows, which keeps its logits so that the job does not read these rows again.

Knows the pipeline's stage 1; knows no prior and no output. A row that the encoder cannot process is left out here; the
job itself reports it as an error. Logits are computed in the windows of the job's shards, so that a shard gets the same
bytes with and without kept logits.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from ..corpus import Record, spread, stream
from ..pipeline import HARMLESS_TEXT, PredictOptions
from .model import ModelHandle
from .predict_shard import NotFiniteError, broken_system
from .settings import JobSettings

if TYPE_CHECKING:
    from torch import Tensor

    from ..balance import AdaptedPrior, ShiftEstimate, TargetPrior
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
        claimed: Work of the first pass for shards that have been predicted since.
    """

    pipeline: Any
    logits: "Tensor"
    kept: "dict[bytes, tuple[Tensor, Usage]]"
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

    def prior(self, kind: Literal["adaptive", "estimate"]) -> "AdaptedPrior | ShiftEstimate":
        """The prior of the rows that were read.

        Raises:
            UserError: For "estimate", if the rows do not determine it; "adaptive" never refuses.
        """
        from ..balance import target_of_rows

        return target_of_rows(kind, self.pipeline.corrector, self.logits)

    @property
    def usage(self) -> "dict[str, Usage]":
        """The work of each stage; that of the first pass counts when its shard is predicted."""
        found = self.pipeline.usage
        for own in self.claimed:
            found["encoder"].add(own.rows, own.tokens_read)
            found["encoder"].seconds += own.seconds
        return found


def read_rows(system: ModelHandle, job: JobSettings, shard_rows: int) -> FirstPass:
    """Read at most `estimate_rows` rows of a job, spread evenly over its input, in shards of `shard_rows`.

    Raises:
        UserError: If the pipeline gives numbers that are not finite even for a harmless text.
    """
    import torch

    pipeline: Any = system.load(None)
    columns = replace(job.columns, topic=None, target=None)
    if job.limit is None:
        rows = spread(job.input, columns, job.estimate_rows)
    else:
        rows = stream(job.input, columns, min(job.limit, job.estimate_rows))
    found, kept, numbers = [torch.empty(0, len(system.topics))], {}, 0
    while shard := list(islice(rows, shard_rows)):
        texts = [row.text for row in shard if isinstance(row, Record)]
        before = pipeline.usage["encoder"]
        windows = [texts[start : start + system.window] for start in range(0, len(texts), system.window)]
        parts = [list(_logits(pipeline, held)) for held in windows]
        found += [part for own in parts for part in own]
        numbers += len(texts) * len(system.topics)
        # A bisected window was read in other batches than the job's.
        if numbers <= MOST_KEPT and parts and all(len(own) == 1 for own in parts):
            work = pipeline.usage["encoder"].since(before)
            kept[_fingerprint(texts)] = torch.cat([part for own in parts for part in own]), work
    return FirstPass(pipeline, torch.cat(found), kept)


def _fingerprint(texts: Sequence[str]) -> bytes:
    sums = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        sums.update(len(encoded).to_bytes(8, "little") + encoded)
    return sums.digest()


def _logits(pipeline: Any, texts: Sequence[str]) -> "Iterator[Tensor]":
    try:
        found = _finite(pipeline, texts)
    except Exception:
        if len(texts) > 1:
            middle = len(texts) // 2
            yield from _logits(pipeline, texts[:middle])
            yield from _logits(pipeline, texts[middle:])
            return
        found = None
    if found is None:
        found = _once_more(pipeline, texts)
    if found is not None:
        yield found


def _once_more(pipeline: Any, texts: Sequence[str]) -> "Tensor | None":
    """As in `predict_shard`: the logits of a single text that failed, or None if the text is at fault."""
    try:
        _finite(pipeline, [HARMLESS_TEXT])
    except NotFiniteError as error:
        raise broken_system(error) from error
    try:
        return _finite(pipeline, texts)
    except Exception:
        log.warning("a row was left out of the estimate of the target prior")
        return None


def _finite(pipeline: Any, texts: Sequence[str]) -> "Tensor":
    logits = pipeline.encoder.logits(texts)
    if not logits.isfinite().all():
        raise NotFiniteError("the encoder's logits are not numbers")
    return logits
