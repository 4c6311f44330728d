"""The prior that a fit teaches an encoder. Knows settings and counts, no model."""

from ..balance.implied import implied_prior
from ..balance.sampling import tempered_counts
from ..corpus.topics import Topics
from .settings import EncoderSettings


def implied_topic_prior(settings: EncoderSettings, seen: Topics) -> tuple[float, ...]:
    """The prior (C,) that softmax of the logits holds: that of the last phase's loss, on the rows of its epochs.

    Args:
        settings: Of the fit.
        seen: The topics with the rows trained on, synthetic ones included.
    """
    ratio = settings.sampling_ratio
    counts = seen.counts if ratio is None else tempered_counts(seen.counts, ratio)
    loss = settings.loss if settings.clean.epochs else settings.head_loss
    return tuple(implied_prior(loss, counts, seen.names).tolist())
