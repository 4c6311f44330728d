"""Fits a decoder in resumable phases: a pretrained or new base, the noisy set, then the clean set.

Knows the order of the phases; knows nothing of the training loop, which is Lightning's.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from lightning.pytorch.utilities import rank_zero_only

from ..balance import make_loss
from ..common import UserError, fingerprint, replacing_folder
from ..corpus import Record, StoredRecords, Topics, subsample, topic_indices
from ..training import (
    Phases,
    PhaseSettings,
    Sampler,
    base_contents,
    record_contents,
    tokenizer_contents,
    trainer_choices,
)
from . import saving
from .adaptation import adapt, finish, token_row_rates, trainable_parameters, training_rows_alone
from .base import make_scratch_model, make_scratch_tokenizer, pad_id_of
from .control import make_rows
from .data import DecoderData, Rows
from .judges import judge_of_records
from .kv_cache import has_plain_cache
from .module import MONITOR, DecoderModule
from .obedience import ObedienceTrial
from .obedience_curve import ObedienceCurve
from .preparation import Prepared, prepare, read_base
from .sampling import has_target, make_sampler, make_topic_loss, validation_weights
from .sequences import Sequencer, plain
from .settings import Condition, DecoderSettings
from .target_logits import shared_tokens
from .templates import resolve_template
from .topic_decoder import TopicDecoder

log = logging.getLogger("unskew")

CURVE_ROWS = 16  # texts on which obedience is measured during training

# Settings by the phase in which they first have an effect; a phase's own settings enter with it.
_COMMON = (
    *("base", "scratch", "prompt_in_force", "max_tokens", "max_target_tokens", "condition", "tokens_per_batch"),
    *("topic_dropout", "text_swap"),
)
_ADAPTATION = ("adaptation", "rank", "alpha", "dropout", "blocks", "topic_rate")
_CLEAN = ("topic_loss", "sampling_ratio", "fairness")


def fit_decoder(
    train: Sequence[Record],
    validation: Sequence[Record],
    noisy: Sequence[Record] | None,
    topics: Topics,
    settings: DecoderSettings,
    folder: str | Path,
    seed: int = 0,
) -> TopicDecoder:
    """Fit a topic-conditioned writer, or resume an interrupted fit with the same inputs.

    Each phase keeps its checkpoints and logs in a folder named after it and its inputs. So a finished phase is not run
    again, and a changed input gets a new folder. The devices are not an input: a fit may resume on others. Rows without
    a target are left out.

    Args:
        train: Clean set.
        validation: Held-out clean rows. Their loss decides when a phase stops and which weights it keeps. If none of
            them has a target, `train` is used.
        noisy: Noisy set, if there is one; left out if none of its rows has a target. Its topics are in the sequences,
            even wrong ones: without them the decoder learns to guess the topic from the text, and a few clean rows of a
            rare topic do not undo that.
        topics: Topics of the clean set, which must include every clean record's topic.
        settings: Settings of the decoder.
        folder: Folder of checkpoints and logs; created if missing.
        seed: Random seed of weights, order and dropout.

    Raises:
        UserError: If no row of `train` has a target, a topic is unknown, or the base cannot be used.
    """
    settings = settings.resolved()
    topics.encode([str(record.topic) for record in chain(train, validation)])
    sets = _usable(train, validation, noisy)
    _say_untaught(sets, topics, settings.condition)
    fit = _Fit(sets, topics, settings, Path(folder), seed)
    return fit.from_scratch() if settings.base is None else fit.from_base(settings.base)


@dataclass(frozen=True)
class _Sets:
    train: Sequence[Record]
    validation: Sequence[Record]
    noisy: Sequence[Record] | None


class _Fit:
    """One call of `fit_decoder`, with the values that its phases share."""

    def __init__(self, sets: _Sets, topics: Topics, settings: DecoderSettings, folder: Path, seed: int) -> None:
        self.sets, self.topics, self.settings, self.seed = sets, topics, settings, seed
        # Every phase depends on these. Other settings enter where they first have an effect, so that fits which differ
        # only in them share the earlier phases: from scratch, the whole training of a base.
        state = fingerprint(
            [getattr(settings, name) for name in _COMMON],
            base_contents(settings.base),
            trainer_choices(settings.trainer),
            topics.names,
            seed,
            record_contents(sets.validation, targets=True),
        )
        self.phases = Phases("decoder", folder, seed, MONITOR, "min", settings.trainer, state)

    def from_scratch(self) -> TopicDecoder:
        """Train all weights of a small base, then adapt it."""
        sets, scratch = self.sets, self.settings.scratch
        known = chain(sets.train, subsample(sets.noisy or (), self.seed))
        words = chain.from_iterable((r.text, str(r.target)) for r in known)
        template = resolve_template(self.settings.prompt_in_force)
        # The prompt is in every sequence, so it should have few tokens.
        tokenizer = make_scratch_tokenizer(scratch, chain(words, [template] * 1000))
        # Made from both sets' texts, so the base phase depends on a set that it does not train on.
        self.phases.depend_on(tokenizer_contents(tokenizer))
        control, prompt, sequencer = prepare(tokenizer, self.topics, self.settings)
        model = make_scratch_model(scratch, tokenizer, self.seed)
        make_rows(model, tokenizer, control, new=control.ids)
        parts = Prepared(model, tokenizer, control, prompt, sequencer)
        where = self._train_noisy("base", parts, sets.noisy or sets.train)
        # All processes have the same weights and share the folder; so may other fits with the same base.
        if getattr(rank_zero_only, "rank", 0) == 0 and not (where / "model").exists():
            with replacing_folder(where / "model") as place:
                saving.save_plain(model.eval(), place)
        return self._adapt(parts, where / "model")

    def from_base(self, base: str) -> TopicDecoder:
        """Adapt a pretrained model, first on the noisy set."""
        parts = read_base(base, self.topics, self.settings)
        self.settings = self.settings.resolved(parts.model.config.get_text_config().hidden_size)
        return self._adapt(parts, base)

    def _adapt(self, parts: Prepared, base: str | Path | None) -> TopicDecoder:
        """Train an adapter or all weights of the model, which was loaded from `base`."""
        settings, noisy = self.settings, self.sets.noisy
        self.phases.depend_on([getattr(settings, name) for name in _ADAPTATION])
        lightning.seed_everything(self.seed, verbose=False)
        parts = replace(parts, model=adapt(parts.model, parts.control, settings))
        unguided = bool(settings.topic_dropout) and has_plain_cache(parts.model)
        if settings.topic_dropout and not unguided:
            log.warning("decoder: outputs of this base cannot be guided: its cache has more than keys and values")
        facts = trainable_parameters(parts.model, settings.adaptation)
        log.info("decoder: %s; learning rate %.2g", facts, settings.clean.rate)
        if settings.rows_first.epochs:
            self._train_rows(parts)
        if settings.base is not None and noisy and settings.noisy.epochs:
            self._train_noisy("noisy", parts, noisy)
        self._train_clean(parts)
        if settings.adaptation != "lora":
            parts, base = replace(parts, model=finish(parts.model)), None
        ours = base is not None and settings.base is None
        return self._decoder(parts, base=base, base_is_ours=ours, facts=facts, unguided=unguided)

    def _decoder(self, parts: Prepared, **about: Any) -> TopicDecoder:
        settings = self.settings
        return TopicDecoder(
            parts.model,
            parts.tokenizer,
            parts.control,
            parts.prompt,
            settings.max_tokens,
            max_target_tokens=settings.max_target_tokens,
            condition=settings.condition,
            fairness=settings.fairness,
            **about,
        )

    def _curve(self, parts: Prepared) -> list[ObedienceCurve]:
        """The callback that measures obedience during the clean phase, if it is requested and possible."""
        every, topics = self.settings.obedience_every, sorted({str(record.topic) for record in self.sets.train})
        if every is None or len(topics) < 2:
            return []
        judge = judge_of_records(self.sets.train)
        trial = ObedienceTrial.sample(self.sets.validation, topics, CURVE_ROWS)
        return [ObedienceCurve(self._decoder(parts), trial, judge, every)]

    def _train_rows(self, parts: Prepared) -> None:
        """Train only the control tokens' rows, so that they mean something before the rest adapts to them."""
        settings, records = self.settings, self.sets.train
        self.phases.depend_on("rows_first", settings.rows_first, None, record_contents(records, targets=True))
        with training_rows_alone(parts.model):
            shared = self._shared(parts)
            module = DecoderModule(parts.model, settings.rows_first, parts.control.topic_ids, shared=shared)
            self.phases.run("rows_first", settings.rows_first, module, self._data(parts, records))

    def _module(self, parts: Prepared, phase: PhaseSettings, *topic_losses: Any) -> DecoderModule:
        settings = self.settings
        rows = {} if settings.topic_rate is None else token_row_rates(parts.model, settings.topic_rate / phase.rate)
        return DecoderModule(
            parts.model,
            phase,
            parts.control.topic_ids,
            *topic_losses,
            rates=rows,
            shared=self._shared(parts),
        )

    def _shared(self, parts: Prepared) -> int:
        """Tokens of the prompt that a batch reads once; none if the weights are sharded among processes."""
        if not str(self.settings.trainer.get("strategy", "auto")).startswith(("auto", "ddp")):
            return 0
        return shared_tokens(plain(parts.model), parts.sequencer.prefix, pad_id_of(parts.tokenizer))

    def _train_noisy(self, name: str, parts: Prepared, records: Sequence[Record]) -> Path:
        """Train in place on `rows` with the noisy phase's settings and topic loss; returns the phase's folder."""
        settings, topics = self.settings, self.topics
        self.phases.depend_on(name, settings.noisy, settings.noisy_topic_loss, record_contents(records, targets=True))
        loss = None
        if settings.noisy_topic_loss is not None:
            indices = topic_indices(records, topics)
            counts = np.bincount(indices[indices >= 0], minlength=len(topics)).tolist()
            loss = make_loss(settings.noisy_topic_loss, counts, topics.names)
            log.info("decoder: topic loss on the noisy set: %s", loss.description)
        module = self._module(parts, settings.noisy, loss)
        return self.phases.run(name, settings.noisy, module, self._data(parts, records))

    def _train_clean(self, parts: Prepared) -> None:
        """Train in place on the clean set, with sampling, fairness token and topic loss as in the settings."""
        settings = self.settings
        records, sampler = make_sampler(settings, self.sets.train, self.topics, self.seed)
        self.phases.depend_on([getattr(settings, name) for name in _CLEAN])
        self.phases.depend_on("clean", settings.clean, None, record_contents(records, targets=True))
        module = self._module(parts, settings.clean, *self._topic_losses(records))
        data = self._data(parts, records, sampler, settings.fairness)
        self.phases.run("clean", settings.clean, module, data, self._curve(parts))

    def _data(
        self, parts: Prepared, records: Sequence[Record], sampler: Sampler | None = None, fairness: bool = False
    ) -> DecoderData:
        return DecoderData(
            self._rows(records, parts.sequencer, fairness),
            self._rows(self.sets.validation, parts.sequencer, fairness),
            pad_id=pad_id_of(parts.tokenizer),
            tokens_per_batch=self.settings.tokens_per_batch,
            seed=self.seed,
            sampler=sampler,
            topic_dropout=self.settings.topic_dropout or 0.0,
            text_swap=self.settings.text_swap or 0.0,
        )

    def _rows(self, records: Sequence[Record], sequencer: Sequencer, fairness: bool) -> Rows:
        """Tokenised rows; with `fairness` followed by the same rows with the token."""
        length = self.settings.max_target_tokens
        rows = Rows.from_records(records, sequencer, self.topics, length)
        return rows + Rows.from_records(records, sequencer, self.topics, length, fairness=True) if fairness else rows

    def _topic_losses(self, records: Sequence[Record]) -> tuple[Any, ...]:
        """The module's arguments for the topic loss of the clean phase; empty if the settings have none."""
        settings, topics = self.settings, self.topics
        natural = make_topic_loss(settings, records, topics)
        if natural is None:
            return ()
        log.info("decoder: topic loss: %s", natural.description)
        fair = make_topic_loss(settings, records, topics, fairness=True) if settings.fairness else None
        return natural, fair, validation_weights(settings, records, topics)


def _usable(train: Sequence[Record], validation: Sequence[Record], noisy: Sequence[Record] | None) -> _Sets:
    """The rows with targets; a UserError or a warning if a set has none."""
    kept = _with_targets(train, "training")
    if not kept:
        raise UserError(
            "no row of the training set has a target to write; name its column (--data.columns.target), or give "
            "--decoder null"
        )
    measured = _with_targets(validation, "validation")
    if not measured:
        log.warning("decoder: no validation rows with a target, so training rows decide when to stop")
    warm_up = _with_targets(noisy or (), "noisy")
    if noisy and not warm_up:
        log.warning("decoder: no row of the noisy set has a target, so it is left out")
    return _Sets(kept, measured or kept, warm_up or None)


def _say_untaught(sets: _Sets, topics: Topics, condition: Condition) -> None:
    taught = {i for records in (sets.train, sets.noisy or ()) for i in np.unique(topic_indices(records, topics))}
    if untaught := [name for i, name in enumerate(topics.names) if i not in taught]:
        unknown = "the token is not trained: it keeps the mean of its name's tokens"
        if condition == "text":
            unknown = "nothing was learnt under its name"
        log.warning(
            "decoder: no row with a target has the topic%s %s: %s, so outputs under it follow the text",
            "s" * (len(untaught) > 1), ", ".join(untaught[:20]), unknown,
        )  # fmt: skip


def _with_targets(records: Sequence[Record], name: str) -> Sequence[Record]:
    stored = isinstance(records, StoredRecords)
    kept = records.selected(records.have_targets) if stored else [r for r in records if has_target(r)]
    if 0 < len(kept) < len(records):
        log.warning("decoder: %d rows of the %s set have no target and are left out", len(records) - len(kept), name)
    return kept
