"""The clean rows of a decoder's epoch, and the prior that they and the topic loss teach. Knows no model and no tokens.

Knows settings, counts and row indices.

With fairness an epoch has as many rows as without, so that arms cost the same: half of them at natural frequencies,
half balanced and with `<force_fairness>`. Batches mix both kinds: the losses have constant denominators, so batches of
one kind would only add noise between steps. Each kind has its own topic loss for its own counts, because class weights
for the natural rows would over-correct balanced ones. In one epoch a text may appear once in each kind: the model
learns from the same words that differ only in the token.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from ..balance import (
    LossLink,
    SampledRows,
    TemperedSampler,
    TopicLoss,
    loss_link,
    make_loss,
    prior_from_loss,
    tempered_counts,
)
from ..common import UserError
from ..corpus import Record, Topics, split_paraphrases
from ..training import Sampler
from .settings import BALANCED_RATIO, DecoderSettings


class FairnessSampler:
    """The rows of an epoch with fairness, from the natural rows followed by the same rows with the token.

    Args:
        targets: Topic index (n,) of each natural row that is not a paraphrase.
        ratio: Largest over smallest topic in the balanced half.
        seed: Random seed of the order, which differs from epoch to epoch.
        paraphrases: Paraphrases as in `TemperedSampler`; they come after the n rows, in both kinds.
    """

    def __init__(
        self, targets: Sequence[int], ratio: float, seed: int, paraphrases: Mapping[int, Sequence[int]]
    ) -> None:
        counts = list(Counter(targets).values())
        natural, balanced = _halves(len(targets))
        self._rows = len(targets) + sum(map(len, paraphrases.values()))
        spread = max(counts) / min(counts)
        self._natural = TemperedSampler(targets, spread, seed=seed, total=natural, paraphrases=paraphrases)
        # Another seed, because both halves would otherwise show the same rows of a frequent topic in an epoch.
        self._balanced = TemperedSampler(targets, ratio, seed=seed + 1, total=balanced, paraphrases=paraphrases)

    def __call__(self, epoch: int) -> SampledRows:
        """The views of an epoch; the batch sampler shuffles them."""
        return self._natural(epoch).followed_by(self._balanced(epoch), self._rows)


def make_sampler(
    settings: DecoderSettings, records: Sequence[Record], topics: Topics, seed: int
) -> tuple[list[Record], Sampler | None]:
    """The clean rows in the sampler's numbering, and the sampler; a sampler of None takes each row once.

    If rows repeat, a paraphrase replaces a repeat of its original instead of being a row itself.
    """
    if not _repeats(settings):
        return list(records), None
    own, others, paraphrases = split_paraphrases(records)
    targets = topics.encode([str(record.topic) for record in own])
    ratio = settings.sampling_ratio or BALANCED_RATIO
    make = FairnessSampler if settings.fairness else TemperedSampler
    return own + others, make(targets, ratio, seed=seed, paraphrases=paraphrases)


def epoch_counts(settings: DecoderSettings, counts: Sequence[int], fairness: bool = False) -> list[int]:
    """Rows per topic in an epoch of the clean phase, with the token (`fairness`) or without it.

    Args:
        settings: Settings of the decoder.
        counts: Clean rows with a target per topic.
        fairness: Whether to count the rows with `<force_fairness>`.

    Raises:
        UserError: If rows with the token are requested and the settings train no such token.
    """
    if fairness and not settings.fairness:
        raise UserError("the decoder was not trained with <force_fairness>; fit it with --decoder.fairness true")
    ratio = settings.sampling_ratio
    if not settings.fairness:
        return list(counts) if ratio is None else tempered_counts(counts, ratio)
    present = [count for count in counts if count]
    natural, balanced = _halves(sum(counts))
    if fairness:
        return tempered_counts(counts, ratio or BALANCED_RATIO, balanced)
    return tempered_counts(counts, max(present) / min(present), natural)


def make_topic_loss(
    settings: DecoderSettings, records: Sequence[Record], topics: Topics, fairness: bool = False
) -> TopicLoss | None:
    """The topic loss for the rows with or without the token; None if the settings have no topic loss."""
    if settings.topic_loss is None:
        return None
    return make_loss(settings.topic_loss, _seen(settings, records, topics, fairness), topics.names)


def validation_weights(settings: DecoderSettings, records: Sequence[Record], topics: Topics) -> list[list[float]]:
    """The frequency of each topic in an epoch relative to held-out rows, which are distributed like `records`.

    Weights (C,) with a mean of 1 over such rows: for rows without `<force_fairness>` and, if the settings train them,
    for rows with it.
    """
    found = _found(settings, records, topics)
    kinds = [epoch_counts(settings, found, fairness) for fairness in ([False, True] if settings.fairness else [False])]
    return [
        [shown / count * sum(found) / sum(seen) if count else 1.0 for shown, count in zip(seen, found, strict=True)]
        for seen in kinds
    ]


def topic_prior_from_loss(
    settings: DecoderSettings, records: Sequence[Record], topics: Topics, fairness: bool = False
) -> tuple[float, ...]:
    """The prior (C,) of the softmax of `topic_logits` after training, from which calibration starts.

    Args:
        settings: Settings with a topic loss.
        records: Training rows, including synthetic ones; those without a target do not count.
        topics: Topics, in the order of the logits.
        fairness: Whether `<force_fairness>` comes before the topic, as in `topic_logits`.

    Raises:
        UserError: If the settings have no topic loss, or `fairness` is requested and they train no such token.
    """
    if settings.topic_loss is None:
        raise UserError("the decoder was not trained to choose topics; fit it with a topic_loss")
    counts = _seen(settings, records, topics, fairness)
    return tuple(prior_from_loss(settings.topic_loss, counts, topics.names).tolist())


def topic_loss_link(
    settings: DecoderSettings, records: Sequence[Record], topics: Topics, fairness: bool = False
) -> LossLink:
    """The link that undoes the topic loss if it is not proper. Arguments as in `topic_prior_from_loss`.

    Raises:
        UserError: As `topic_prior_from_loss`.
    """
    if settings.topic_loss is None:
        raise UserError("the decoder was not trained to choose topics; fit it with a topic_loss")
    return loss_link(settings.topic_loss, _seen(settings, records, topics, fairness))


def has_target(record: Record) -> bool:
    """Whether the record has a target."""
    return bool(record.target and record.target.strip())


def _seen(settings: DecoderSettings, records: Sequence[Record], topics: Topics, fairness: bool) -> list[int]:
    return epoch_counts(settings, _found(settings, records, topics), fairness)


def _found(settings: DecoderSettings, records: Sequence[Record], topics: Topics) -> list[int]:
    """Rows per topic in the sampler's numbering: those with a target, without paraphrases if rows repeat."""
    usable = [record for record in records if has_target(record)]
    counted = Counter(record.topic for record in (split_paraphrases(usable)[0] if _repeats(settings) else usable))
    return [counted[name] for name in topics.names]


def _repeats(settings: DecoderSettings) -> bool:
    return settings.fairness or settings.sampling_ratio is not None


def _halves(rows: int) -> tuple[int, int]:
    """Numbers of rows of an epoch without and with the token."""
    return max(1, rows // 2), max(1, rows - rows // 2)
