"""Fits an encoder in phases: noisy warm-up, balanced head, fine-tuning, each resumable.

Knows the order of the phases; knows nothing of the training loop, which is Lightning's.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from transformers import PreTrainedModel

from ..balance import LossSettings, make_loss
from ..common import fingerprint
from ..corpus import Record, Topics, subsample
from ..training import (
    Phases,
    PhaseSettings,
    base_contents,
    record_contents,
    tokenizer_contents,
    trainer_choices,
)
from .base import make_base
from .data import EncoderData, Rows
from .layers import freeze_body, layer_rates
from .module import MONITOR, EncoderModule
from .sampling import epoch_counts, make_sampler
from .settings import NOISY_LOSS, EncoderSettings
from .tokens import pad_id_of
from .topic_encoder import TopicEncoder

log = logging.getLogger("unskew")


@dataclass(frozen=True)
class Phase:
    """One phase: name, records, length and speed, loss, and whether the body is frozen."""

    name: str
    records: Sequence[Record]
    settings: PhaseSettings
    loss: LossSettings
    frozen_body: bool = False
    sampling_ratio: float | None = None


def fit_encoder(
    train: Sequence[Record],
    validation: Sequence[Record],
    noisy: Sequence[Record] | None,
    topics: Topics,
    settings: EncoderSettings,
    folder: str | Path,
    seed: int = 0,
) -> TopicEncoder:
    """Fit a topic classifier, or resume an interrupted fit with the same inputs.

    Each phase keeps its checkpoints and logs in a folder named after it and its inputs. So a finished phase is not run
    again, and a changed input gets a new folder. The devices are not an input: a fit may resume on others.

    Args:
        train: Clean set.
        validation: Held-out clean rows. Their macro-F1 decides when a phase stops and which weights it keeps; if empty,
            `train` is used.
        noisy: Noisy set, if there is one.
        topics: Topics of the clean set, which must include every record's topic.
        settings: Settings of the encoder.
        folder: Folder of checkpoints and logs; created if missing.
        seed: Random seed of weights, order and dropout.
    """
    settings = settings.resolved()
    if not validation:
        log.warning("encoder: no validation rows, so training rows decide when to stop")
        validation = train
    texts = (record.text for record in chain(train, subsample(noisy or (), seed)))
    model, tokenizer = make_base(settings, topics, texts, seed)
    measured = Rows.from_records(validation, topics, tokenizer, settings.max_tokens)
    state = fingerprint(
        settings.base,
        base_contents(settings.base),
        settings.scratch,
        # Trained on the texts of all sets, so a phase depends on sets that it does not train on.
        tokenizer_contents(tokenizer) if settings.base is None else None,
        settings.max_tokens,
        settings.tokens_per_batch,
        settings.layer_decay,
        trainer_choices(settings.trainer),
        topics.to_dict(),
        seed,
        record_contents(validation, targets=False),
    )
    phases = Phases("encoder", Path(folder), seed, MONITOR, "max", settings.trainer, state)
    for phase in _phases(train, noisy, settings):
        records, sampler = make_sampler(phase.records, topics, phase.sampling_ratio, seed)
        phases.depend_on(phase.settings, phase.loss, phase.sampling_ratio, record_contents(records, targets=False))
        data = EncoderData(
            Rows.from_records(records, topics, tokenizer, settings.max_tokens),
            measured,
            pad_id=pad_id_of(tokenizer),
            tokens_per_batch=settings.tokens_per_batch,
            seed=seed,
            sampler=sampler,
        )
        phases.run(
            phase.name, phase.settings, _module(model, phase, measured, topics, settings.layer_decay or 1.0), data
        )
    return TopicEncoder(model, tokenizer, settings.max_tokens)


def _phases(train: Sequence[Record], noisy: Sequence[Record] | None, settings: EncoderSettings) -> Iterator[Phase]:
    if noisy and settings.noisy.epochs:
        yield Phase("noisy", noisy, settings.noisy, settings.noisy_loss or NOISY_LOSS)
    if settings.head.epochs:
        yield Phase("head", train, settings.head, settings.head_loss, True, settings.sampling_ratio)
    if settings.clean.epochs:
        yield Phase("clean", train, settings.clean, settings.loss, False, settings.sampling_ratio)


def _module(
    model: PreTrainedModel,
    phase: Phase,
    validation: Rows,
    topics: Topics,
    layer_decay: float,
) -> EncoderModule:
    """The phase's Lightning module, with a loss for the topic counts of one of its epochs."""
    counts = epoch_counts(phase.records, topics, phase.sampling_ratio)
    loss = make_loss(phase.loss, counts, topics.names)
    log.info("encoder, %s: %d rows, %s", phase.name, len(phase.records), loss.description)
    model.requires_grad_(True)
    if phase.frozen_body:
        freeze_body(model)
    return EncoderModule(
        model,
        phase.settings,
        loss,
        topics,
        validation.labels,
        rates=None if phase.frozen_body else layer_rates(model, layer_decay),
        frozen_body=phase.frozen_body,
    )
