"""Which clean rows an epoch shows a decoder, and the prior that this and the topic loss teach it.

Knows settings, counts and row indices; knows no model and no tokens.

With fairness an epoch has as many rows as without, so that arms cost the same: half of them drawn as they are, half
balanced and with `<force_fairness>`. Both kinds are mixed in the batches: the losses are sums over denominators that
are constant in an epoch, so batches of one kind would change nothing but add noise between the steps. Each kind has a
topic loss of its own, made for its own counts: class weights for the natural rows would over-correct balanced ones.
A text may come once in each kind in an epoch: the same words, told apart by the token alone, are what it learns from.
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
    """The rows of an epoch with fairness: of the natural rows, and the same rows after them with the token.

    Args:
        targets: Topic index of each natural row that is no paraphrase (n,).
        ratio: Largest over smallest topic in the balanced half.
        seed: Random seed of the order, which differs from epoch to epoch.
        paraphrases: As `TemperedSampler` takes them; they come after the n rows, in both kinds.
    """

    def __init__(
        self, targets: Sequence[int], ratio: float, seed: int, paraphrases: Mapping[int, Sequence[int]]
    ) -> None:
        counts = list(Counter(targets).values())
        natural, balanced = _halves(len(targets))
        self._rows = len(targets) + sum(map(len, paraphrases.values()))
        spread = max(counts) / min(counts)
        self._natural = TemperedSampler(targets, spread, seed=seed, total=natural, paraphrases=paraphrases)
        # Another seed: else both halves would show the same rows of a frequent topic in an epoch.
        self._balanced = TemperedSampler(targets, ratio, seed=seed + 1, total=balanced, paraphrases=paraphrases)

    def __call__(self, epoch: int) -> SampledRows:
        """The views of an epoch; the batches' sampler shuffles them."""
        return self._natural(epoch).followed_by(self._balanced(epoch), self._rows)


def make_sampler(
    settings: DecoderSettings, records: Sequence[Record], topics: Topics, seed: int
) -> tuple[list[Record], Sampler | None]:
    """The clean rows in the order that the draw numbers them in, and those of an epoch; None takes each once.

    Where rows repeat, a paraphrase stands in for a repeat of its original instead of being a row.
    """
    if not _repeats(settings):
        return list(records), None
    own, others, paraphrases = split_paraphrases(records)
    targets = topics.encode([str(record.topic) for record in own])
    ratio = settings.sampling_ratio or BALANCED_RATIO
    make = FairnessSampler if settings.fairness else TemperedSampler
    return own + others, make(targets, ratio, seed=seed, paraphrases=paraphrases)


def epoch_counts(settings: DecoderSettings, counts: Sequence[int], fairness: bool = False) -> list[int]:
    """Rows per topic in an epoch of the clean phase, of those with (`fairness`) or without the token.

    Args:
        settings: Settings of the decoder.
        counts: Clean rows per topic, a target to write given.
        fairness: Which rows are meant.

    Raises:
        UserError: if those with the token are meant, and the settings train none.
    """
    if fairness and not settings.fairness:
        raise UserError("the decoder was not trained with <force_fairness>; set fairness in its settings")
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
    """The topic loss for the rows with or without the token; None where the settings have no topic loss."""
    if settings.topic_loss is None:
        return None
    return make_loss(settings.topic_loss, _seen(settings, records, topics, fairness), topics.names)


def validation_weights(settings: DecoderSettings, records: Sequence[Record], topics: Topics) -> list[list[float]]:
    """How often an epoch shows each topic, in relation to held-out rows, which are drawn as `records` are.

    Weights (C,) that are 1 on average over such rows: for those without `<force_fairness>`, and, if the settings train
    them, for those with it.
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
    """The prior (C,) that softmax of `topic_logits` holds after training: what calibration starts from.

    Args:
        settings: With a topic loss.
        records: The rows trained on, synthetic ones included; those without a target were left out, and do not count.
        topics: In the order of the logits.
        fairness: Whether `<force_fairness>` comes before the topic, as it then does in `topic_logits`.

    Raises:
        UserError: if the settings have no topic loss, or train no fairness token that is asked about.
    """
    if settings.topic_loss is None:
        raise UserError("the decoder was not trained to choose topics; set topic_loss in its settings")
    counts = _seen(settings, records, topics, fairness)
    return tuple(prior_from_loss(settings.topic_loss, counts, topics.names).tolist())


def topic_loss_link(
    settings: DecoderSettings, records: Sequence[Record], topics: Topics, fairness: bool = False
) -> LossLink:
    """What undoes the topic loss, where it is not proper; the arguments are those of `topic_prior_from_loss`.

    Raises:
        UserError: as `topic_prior_from_loss`.
    """
    if settings.topic_loss is None:
        raise UserError("the decoder was not trained to choose topics; set topic_loss in its settings")
    return loss_link(settings.topic_loss, _seen(settings, records, topics, fairness))


def has_target(record: Record) -> bool:
    """Whether there is something to learn to write."""
    return bool(record.target and record.target.strip())


def _seen(settings: DecoderSettings, records: Sequence[Record], topics: Topics, fairness: bool) -> list[int]:
    return epoch_counts(settings, _found(settings, records, topics), fairness)


def _found(settings: DecoderSettings, records: Sequence[Record], topics: Topics) -> list[int]:
    """Rows per topic that are drawn: those with a target, and where rows repeat no paraphrases."""
    usable = [record for record in records if has_target(record)]
    counted = Counter(record.topic for record in (split_paraphrases(usable)[0] if _repeats(settings) else usable))
    return [counted[name] for name in topics.names]


def _repeats(settings: DecoderSettings) -> bool:
    return settings.fairness or settings.sampling_ratio is not None


def _halves(rows: int) -> tuple[int, int]:
    """Rows of an epoch without and with the token."""
    return max(1, rows // 2), max(1, rows - rows // 2)
