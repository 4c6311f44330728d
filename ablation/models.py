"""Fits the models of arms, and keeps a model while the next arm needs the same. Knows both rooms' fits and costs.

The rooms store each phase in a folder named after its inputs, so arms share the phases in which they do not differ.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from peft import PeftModel

from ..balance import Calibration, LossLink, PosteriorCorrector, resolve_prior
from ..common import fingerprint, replacing_folder
from ..corpus import Record
from ..decoder import (
    DecoderSettings,
    FrameJudge,
    TopicDecoder,
    TopicJudge,
    ZeroShot,
    fit_decoder,
    has_target,
    judge_of_records,
    merge,
    topic_loss_link,
    topic_prior_from_loss,
)
from ..encoder import EncoderSettings, fit_topic_encoder, relabel_rows
from ..pipeline import TrainingData, choose_device
from ..training import PhaseSettings, callbacks_of, record_runs
from .costs import Cost, CostMeter, read_costs
from .data import read_training
from .settings import AblationSettings, ArmSettings

Answer = TypeVar("Answer")


@dataclass
class Fitted:
    """A fitted model with its cached predictions.

    Attributes:
        model: Model of one of the stages.
        settings: Settings of its fit.
        model_prior: The prior of its softmax, by whether `<force_fairness>` is given.
        links: The functions that undo its loss, by the same.
        trainable: Number of parameters trained in the last phase.
        costs: Costs of its training runs, by phase.
        base: Folder of the model that the last phase began with, if that was trained here.
        said: Cached results by name, with the seconds each took.
    """

    model: Any
    settings: Any
    model_prior: dict[bool, tuple[float, ...]]
    links: dict[bool, LossLink]
    trainable: int
    costs: dict[str, Cost]
    base: str | None = None
    said: dict[Any, Any] = field(default_factory=dict)


class FittedStages:
    """The models of one seed.

    Args:
        settings: Settings of the ablation.
        seed: Random seed of this part of it.
        folder: Where checkpoints go.
        cache: Where the noisy rows stay, for all seeds.
    """

    def __init__(self, settings: AblationSettings, seed: int, folder: Path, cache: Path) -> None:
        self.settings, self.seed, self.folder, self.cache = settings, seed, folder, cache
        self._encoders: dict[str, Fitted] = {}
        self._decoder: tuple[str, Fitted] | None = None  # decoders can be large, so only one is kept

    @cached_property
    def plain(self) -> TrainingData:
        """The training and validation rows."""
        return read_training(self.settings, self.seed, self.cache)

    @cached_property
    def enriched(self) -> TrainingData:
        """The training and validation rows, with the synthetic rows."""
        return read_training(self.settings, self.seed, self.cache, synthetic=True)

    @cached_property
    def judge(self) -> TopicJudge | FrameJudge:
        """A classifier that has learnt from the clean targets what each topic's outputs read like."""
        taught = [record for record in self.plain.train if has_target(record)]
        return judge_of_records(taught)

    def sets(self, arm: ArmSettings) -> TrainingData:
        """The sets that an arm trains on."""
        return self.enriched if arm.synthetic else self.plain

    def decoder(self, arm: ArmSettings) -> Fitted:
        """Stage 2 of an arm."""
        settings = self.settings.decoder_of(arm)
        encoder = replace(self.settings.encoder_of(arm), trainer={}) if arm.relabel else None
        key = fingerprint(replace(settings, trainer={}), arm.synthetic, encoder)
        if self._decoder is None or self._decoder[0] != key:
            self._decoder = None  # frees the old decoder before the next is made
            sets = self.sets(arm)
            if arm.relabel:
                sets = replace(sets, noisy=self._relabelled(arm, sets))
            self._decoder = key, self._fit_decoder(settings, sets)
        return self._decoder[1]

    def zero_shot(self, arm: ArmSettings) -> Fitted:
        """The base of an arm's decoder, as it was."""
        settings = self.settings.decoder_of(arm).resolved()
        key = f"zero-shot {fingerprint(replace(settings, trainer={}))}"
        if self._decoder is None or self._decoder[0] != key:
            self._decoder = None
            scorer = ZeroShot.read(str(settings.base), self.plain.topics, settings)
            scorer.model.to(choose_device())  # pyright: ignore[reportArgumentType]
            self._decoder = key, Fitted(scorer, settings, {}, {}, 0, {})
        return self._decoder[1]

    def _relabelled(self, arm: ArmSettings, sets: TrainingData) -> Sequence[Record]:
        encoder = self.encoder(arm)
        uniform = resolve_prior("uniform", sets.topics)
        corrector = PosteriorCorrector(
            sets.topics, encoder.model_prior[False], Calibration(), uniform, encoder.links[False]
        )
        return relabel_rows(sets.noisy or (), encoder.model, corrector)

    def encoder(self, arm: ArmSettings) -> Fitted:
        """Stage 1 of an arm, or the classification head on its decoder."""
        settings = self.settings.encoder_of(arm)
        if arm.decide == "head":
            base = self.settings.decoder_of(arm).base or str(self._scratch_base(self.decoder(arm)))
            settings = replace(settings.by_phases(), base=base, noisy=PhaseSettings(epochs=0))
        key = fingerprint(replace(settings, trainer={}), arm.synthetic)
        if key not in self._encoders:
            self._encoders[key] = self._fit_encoder(settings, self.sets(arm))
        return self._encoders[key]

    def _scratch_base(self, fitted: Fitted) -> Path:
        """The folder of the base trained here, with its tokenizer; a classifier can begin from it.

        It is named after the phase that trained it, because arms may train different bases.
        """
        place = self.folder / f"head-base-{Path(str(fitted.base)).parent.name}"
        if not place.exists():
            with replacing_folder(place) as new:
                shutil.copytree(str(fitted.base), new, dirs_exist_ok=True)
                fitted.model.tokenizer.save_pretrained(new)
        return place

    def _fit_decoder(self, settings: DecoderSettings, sets: TrainingData) -> Fitted:
        measured = replace(settings, trainer=_metered(settings.trainer))
        with record_runs() as folders:
            decoder: TopicDecoder = fit_decoder(
                sets.train, sets.validation, sets.noisy, sets.topics, measured, self.folder / "decoder", self.seed
            )
        if isinstance(decoder.model, PeftModel):  # with the adapter merged, as the model is used
            decoder.model = merge(decoder.model)
        decoder.model.to(choose_device())  # pyright: ignore[reportArgumentType]
        kinds = {False, settings.fairness} if settings.topic_loss is not None else set()
        model_prior = {fair: topic_prior_from_loss(settings, sets.train, sets.topics, fair) for fair in kinds}
        links = {fair: topic_loss_link(settings, sets.train, sets.topics, fair) for fair in kinds}
        trainable = decoder.facts.trainable if decoder.facts else 0
        base = next((str(folder / "model") for folder in folders if (folder / "model").exists()), None)
        return Fitted(decoder, settings, model_prior, links, trainable, read_costs(folders), base)

    def _fit_encoder(self, settings: EncoderSettings, sets: TrainingData) -> Fitted:
        measured = replace(settings, trainer=_metered(settings.trainer))
        with record_runs() as folders:
            fitted = fit_topic_encoder(
                sets.train, sets.validation, sets.noisy, sets.topics, measured, self.folder / "encoder", self.seed
            )
        encoder = fitted.encoder
        encoder.model.to(choose_device())  # pyright: ignore[reportArgumentType]
        trainable = sum(p.numel() for p in encoder.model.parameters() if p.requires_grad)
        return Fitted(
            encoder, settings, {False: fitted.model_prior}, {False: fitted.link}, trainable, read_costs(folders)
        )


def cached(fitted: Fitted, question: Any, answer: Callable[[], Answer]) -> tuple[Answer, float]:
    """A cached result of a model and the seconds it took; arms that share the model share it."""
    if question not in fitted.said:
        begun = time.monotonic()
        found = answer()
        fitted.said[question] = found, time.monotonic() - begun
    return fitted.said[question]


def _metered(trainer: Any) -> dict[str, Any]:
    return {**trainer, "callbacks": [*callbacks_of(trainer), CostMeter()]}
