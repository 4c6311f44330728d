"""A first pass of stage 1 over a job's rows, to estimate their prior. Knows nothing of the job's output.

A row that the encoder cannot process is left out here; the job itself reports it as an error.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from ..corpus import Record, spread, stream
from ..pipeline import HARMLESS_TEXT
from .model import ModelHandle
from .predict_shard import NotFiniteError, broken_system
from .settings import JobSettings

if TYPE_CHECKING:
    from torch import Tensor

    from ..balance import AdaptedPrior, ShiftEstimate

log = logging.getLogger("unskew")


def prior_of_rows(
    system: ModelHandle, job: JobSettings, kind: Literal["adaptive", "estimate"]
) -> "AdaptedPrior | ShiftEstimate":
    """The prior of a job's rows, from at most `estimate_rows` of them, spread evenly over the input.

    Raises:
        UserError: For "estimate", if the rows do not determine the prior; "adaptive" never refuses.
    """
    import torch

    from ..balance import target_of_rows

    pipeline: Any = system.load(None)
    columns = replace(job.columns, topic=None, target=None)
    if job.limit is None:
        rows = spread(job.input, columns, job.estimate_rows)
    else:
        rows = stream(job.input, columns, min(job.limit, job.estimate_rows))
    texts = (row.text for row in rows if isinstance(row, Record))
    logits = [part for held in iter(lambda: list(islice(texts, system.window)), []) for part in _logits(pipeline, held)]
    found = torch.cat(logits) if logits else torch.empty(0, len(system.topics))
    return target_of_rows(kind, pipeline.corrector, found)


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
