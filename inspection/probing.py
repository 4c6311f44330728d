"""The findings of a cross-fitted probe: expected metrics, doubted labels, confusable topics, the noisy set.

Knows the encoder's probe and the balance room's metrics, but no file.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..balance import DoubtedLabels, doubt_labels, symmetric_confusion, topic_metrics, topic_recall
from ..corpus import Record
from ..encoder import CrossFitted, EncoderSettings, cross_fit
from ..pipeline import TrainingData
from .results import NoisySet, Pair, Probe

log = logging.getLogger("unskew")

MOST_CELLS = 2**26  # rows times topics; beyond it a probe's predictions fill the memory
MOST_PAIRS = 30
FEWEST_EXCHANGED = 2  # least rows of a pair; one row may be chance


@dataclass(frozen=True)
class Probed:
    """The probe's predictions.

    Attributes:
        labels: Topics (n,) of the clean rows.
        logits: Logits (n, C) that favour no topic; nan for a row that could not be held out, or is synthetic.
        prior: Topic shares (C,) of the clean rows.
        fitted: The probe's choices, and its predictions for the noisy rows.
    """

    labels: Tensor
    logits: Tensor
    prior: Tensor
    fitted: CrossFitted

    @property
    def natural(self) -> Tensor:
        """Log-probabilities (n, C) under the rows' own prior."""
        return (self.logits.double() + self.prior.log()).log_softmax(-1)

    @property
    def uniform(self) -> Tensor:
        """Log-probabilities (n, C) under a uniform prior."""
        return self.logits.double().log_softmax(-1)


def probe_rows(sets: TrainingData, settings: EncoderSettings, seed: int) -> Probed | None:
    """Cross-fit a probe on the clean rows; None if there are too many topics.

    Raises:
        UserError: If the base cannot be used.
    """
    cells = len(sets.clean) * len(sets.topics)
    if cells > MOST_CELLS:
        log.warning(
            "%d topics in %d rows are too many to cross-fit a probe, so labels are not checked",
            len(sets.topics), len(sets.clean),
        )  # fmt: skip
        return None
    fitted = cross_fit(sets.clean, sets.noisy or (), sets.topics, settings, seed)
    labels = torch.tensor(sets.topics.encode(str(record.topic) for record in sets.clean))
    return Probed(labels, fitted.logits, torch.tensor(sets.topics.prior, dtype=torch.float64), fitted)


def doubted(probed: Probed) -> DoubtedLabels:
    """The labels that the probe doubts."""
    return doubt_labels(probed.natural, probed.labels)


def expected(probed: Probed, sets: TrainingData, settings: EncoderSettings) -> Probe:
    """The probe's metrics on held-out rows."""
    known = probed.logits.isfinite().all(-1)
    views = {"uniform": probed.uniform, "train": probed.natural}
    labels, rows = probed.labels[known], int(known.sum())
    return Probe(
        features=settings.base or "TF-IDF",
        rows=rows,
        metrics={name: topic_metrics(view[known].exp(), labels, sets.topics.counts) for name, view in views.items()}
        if rows
        else {},
        notes=list(probed.fitted.notes),
    )


def recalls(probed: Probed) -> list[float | None]:
    """Recall (C,) under a uniform prior; None for topics without a held-out row."""
    known = probed.logits.isfinite().all(-1)
    if not known.any():
        return [None] * probed.logits.shape[1]
    found = topic_recall(probed.uniform[known].exp(), probed.labels[known]).tolist()
    return [value if value == value else None for value in found]


def confusable(probed: Probed, sets: TrainingData) -> list[Pair]:
    """Pairs of topics whose rows are predicted as the other topic, most rows first."""
    rows = symmetric_confusion(probed.uniform, probed.labels).triu()
    counts, names = sets.topics.counts, sets.topics.names
    order = rows.flatten().argsort(descending=True, stable=True)[:MOST_PAIRS].tolist()
    found = []
    for cell in order:
        one, other = divmod(cell, len(names))
        number = int(rows[one, other])
        if number >= FEWEST_EXCHANGED:
            share = min(1.0, number / min(counts[one], counts[other]))
            found.append(Pair(topics=[names[one], names[other]], rows=number, share=share))
    return found


def describe_noisy(sets: TrainingData, probed: Probed | None) -> NoisySet | None:
    """The noisy set compared with the clean set; None if there is none."""
    if sets.noisy is None:
        return None
    fitted = probed.fitted if probed is not None else None
    read = fitted.noisy if fitted is not None else ()
    agrees = agreements(read, fitted, sets)
    return NoisySet(
        rows=len(sets.noisy),
        read=len(read),
        unknown_topics=dict(sets.unknown_topics),
        agreement=sum(agrees) / len(agrees) if agrees else None,
        right=fitted.given.mean().item() if fitted is not None and read else None,
        nats=fitted.noisy_nats if fitted is not None else None,
    )


def agreements(noisy: Sequence[Record], fitted: CrossFitted | None, sets: TrainingData) -> list[bool]:
    """Whether the probe predicts the given topic, for each noisy row that it read."""
    if fitted is None or not noisy:
        return []
    given = sets.topics.encode(str(record.topic) for record in noisy)
    return [one == other for one, other in zip(given, fitted.decided.tolist(), strict=True)]
