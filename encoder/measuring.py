"""What validation reports of logits, as plain numbers by name. Knows no model; the formulas are balance's."""

import math

from torch import Tensor

from ..balance import measures
from ..corpus.topics import Topics


def validation_measures(logits: Tensor, targets: Tensor, topics: Topics) -> dict[str, float]:
    """Measures of logits (V, C) against targets (V,), both on the CPU.

    Returns:
        `macro_f1`, `accuracy`, `balanced_accuracy`, `nll` (nats a row), `recall_BAND` (mean over the topics of the
        band) and `recall/TOPIC`; bands and topics without a row are left out.
    """
    probabilities = logits.double().softmax(dim=-1)
    values = {
        "macro_f1": measures.macro_f1(probabilities, targets),
        "accuracy": measures.accuracy(probabilities, targets),
        "balanced_accuracy": measures.balanced_accuracy(probabilities, targets),
        "nll": measures.negative_log_likelihood(probabilities, targets),
    }
    bands = measures.band_recall(probabilities, targets, topics.counts)
    values |= {f"recall_{band}": recall for band, recall in bands.items()}
    recalls = measures.topic_recall(probabilities, targets).tolist()
    values |= {f"recall/{name}": recall for name, recall in zip(topics.names, recalls, strict=True)}
    return {name: value for name, value in values.items() if not math.isnan(value)}
