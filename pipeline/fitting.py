"""Fits a whole system: both stages, the calibration between them, and the bundle.

Knows the order of the steps; knows nothing of how a step works. The stages keep their checkpoints in `OUTPUT.work`, so
an interrupted fit resumes, and a stage whose inputs have not changed is not fitted again.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from ..balance import (
    Calibration,
    DecisionSettings,
    PosteriorCorrector,
    adapt_target,
    prior_from_predictions,
    resolve_prior,
    topic_metrics,
    topic_recall,
)
from ..common import UserError, check_writable, model_folder, problems_of_text, refuse_existing, removed_if_unused
from ..decoder import (
    DecoderSettings,
    ObedienceTrial,
    TopicDecoder,
    check_base,
    fit_decoder,
    has_target,
    judge_of_records,
    measure_obedience,
)
from ..encoder import FittedEncoder, fit_topic_encoder, relabel_rows
from ..runtime import choose_precision, to_precision
from ..training import LoggerName, check_logger, check_trainer, make_logger, one_fit_at_a_time
from . import bundle
from .datasets import TrainingData, read_sets
from .hybrid import HybridPipeline, choose_device
from .settings import FitSettings

log = logging.getLogger("unskew")

OBEDIENCE_ROWS = 48  # held-out texts for obedience, written under their own topic and another
Prior = Literal["adaptive", "uniform", "train"]
PRIORS: tuple[Prior, ...] = ("adaptive", "uniform", "train")  # metrics under each are logged


def fit(
    settings: FitSettings,
    output: str | Path,
    *,
    overwrite: bool = False,
    logger: LoggerName = "csv",
    rows: Path | None = None,
) -> HybridPipeline:
    """Fit a system and write its bundle. Fits in several threads of a process wait for each other.

    Args:
        settings: Settings of the fit.
        output: Folder of the bundle. Beside it, `OUTPUT.work` keeps the checkpoints from which a fit resumes.
        overwrite: Whether an existing bundle may be replaced, once the new one is whole.
        logger: Tracker for the curves and the final metrics; one that does not answer does not stop the fit.
        rows: Folder for the stored noisy rows, which several fits can share; by default one in `OUTPUT.work`.

    Raises:
        UserError: If an input cannot be used, or `output` exists and must not be replaced.
    """
    check_logger(logger)
    place = model_folder(output)
    work = place.with_name(place.name + ".work")
    with one_fit_at_a_time(), removed_if_unused(work):
        pipeline = _fit(_logging_to(logger, settings.resolved()), place, work, overwrite, rows)
    final = make_logger(logger, work, Path(output).name)
    metrics = pipeline.metrics.get("validation", {})
    final.log_metrics({f"final/{name}": value for name, value in metrics.items() if value is not None})
    final.finalize("success")
    return pipeline


def check_fit(settings: FitSettings, output: Path, *, overwrite: bool) -> None:
    """Check what can be checked before a row is read; writes nothing.

    Raises:
        UserError: If `output` exists and must not be replaced, a name of the data is not UTF-8, or a stage's trainer
            cannot be made.
    """
    refuse_existing(output, overwrite, bundle.MANIFEST)
    named = {f"data.{name}": value for name, value in asdict(settings.data).items()}
    if problems := list(problems_of_text(named)):  # the bundle could not be written in the end
        raise UserError("; ".join(problems))
    for name, stage in (("encoder", settings.encoder), ("decoder", settings.decoder)):
        if stage is not None:
            check_trainer(name, stage.trainer, output)


def _logging_to(logger: LoggerName, settings: FitSettings) -> FitSettings:
    """The settings with that logger in both stages, unless their trainers name one."""
    encoder, decoder = settings.encoder, settings.decoder
    return replace(
        settings,
        encoder=replace(encoder, trainer={"logger": logger, **encoder.trainer}),
        decoder=decoder and replace(decoder, trainer={"logger": logger, **decoder.trainer}),
    )


def _fit(settings: FitSettings, output: Path, work: Path, overwrite: bool, rows: Path | None) -> HybridPipeline:
    check_fit(settings, output, overwrite=overwrite)
    check_writable(work)
    sets = read_sets(settings.data, settings.seed, targets=settings.decoder is not None, cache=rows or work / "rows")
    log.info("%s", _said_of_rows(sets, settings))
    target = resolve_prior("uniform" if settings.target_prior == "adaptive" else settings.target_prior, sets.topics)
    if settings.decoder is not None:
        check_base(settings.decoder, sets.topics, work)  # before the encoder is trained
    fitted = _fit_encoder(sets, settings, work / "encoder")
    encoder = fitted.encoder
    device = choose_device()
    encoder.model.to(device)  # pyright: ignore[reportArgumentType]
    corrector, metrics = _decide(fitted, sets, settings, target)
    decoder = None
    if settings.decoder is not None:
        noisy = relabel_rows(sets.noisy or (), encoder, corrector)
        decoder = fit_decoder(
            sets.train, sets.validation, noisy, sets.topics, settings.decoder, work / "decoder", settings.seed
        )
        to_precision(decoder.model.to(device), choose_precision(None, device))  # pyright: ignore[reportArgumentType]
        if getattr(rank_zero_only, "rank", 0) == 0:
            metrics |= _obedience(decoder, sets, settings.decoder)
    pipeline = HybridPipeline(encoder, decoder, corrector, _description(settings, decoder), metrics)
    if getattr(rank_zero_only, "rank", 0) == 0:
        pipeline.save_pretrained(output)
        log.info("the bundle is %s; %s can be deleted (it lets an equal fit skip its stages)", output, work)
    return pipeline


def _obedience(decoder: TopicDecoder, sets: TrainingData, settings: DecoderSettings) -> dict[str, Any]:
    """Measure and log whether outputs follow the given topic; empty, and logged, if that cannot be measured."""
    taught = [record for record in sets.train if has_target(record)]
    topics = sorted({str(record.topic) for record in taught})
    trial = ObedienceTrial.sample(sets.validation, topics, OBEDIENCE_ROWS, wrong=1)
    if len(topics) < 2 or not len(trial):
        reason = "all targets have one topic" if len(topics) < 2 else "no held-out row of these topics has a target"
        log.info("decoder: whether outputs follow their topic was not measured, because %s", reason)
        return {}
    found = measure_obedience(decoder, trial, judge_of_records(taught))
    if found is None:
        return {}
    log.info("decoder: %s", found)
    if found.listens is None:
        log.warning(
            "targets read as much like a wrong topic as like their own, so this does not tell whether it listens"
        )
    elif not found.listens:
        log.warning("the decoder hardly follows its topic; train it %s", _ways_to_listen(settings.resolved()))
    return {"obedience": asdict(found)}


def _ways_to_listen(settings: DecoderSettings) -> str:
    """What may make a decoder follow its topic and has not been done yet."""
    ways = ["longer", "on more rows"]
    if settings.is_given_topics and (settings.text_swap or 0) < 1:
        ways.append("with text_swap 1")
    if settings.is_given_topics and settings.condition == "token":
        ways.append("with condition both, which names the topic")
    return f"{', '.join(ways[:-1])} or {ways[-1]}"


def _encodes_all(sets: TrainingData, settings: FitSettings) -> bool:
    """Whether the encoder is fitted on every clean row, because its recipe holds rows out by itself."""
    return sets.is_split and settings.encoder.recipe_in_force != "phases"


def _said_of_rows(sets: TrainingData, settings: FitSettings) -> str:
    if not _encodes_all(sets, settings):
        return str(sets)
    recipe, rows = settings.encoder.recipe_in_force, len(sets.clean)
    said = f"the encoder (recipe {recipe}) is fitted on all {rows} rows and holds out its own"
    if settings.decoder is not None:
        return f"{sets}; {said}"
    return f"{len(sets.topics)} topics; {said}" + (f"; {len(sets.noisy)} noisy rows" if sets.noisy else "")


def _fit_encoder(sets: TrainingData, settings: FitSettings, folder: Path) -> FittedEncoder:
    """Fit stage 1; a recipe that holds rows out by itself gets every clean row."""
    train, validation = (sets.clean, []) if _encodes_all(sets, settings) else (sets.train, sets.validation)
    return fit_topic_encoder(train, validation, sets.noisy, sets.topics, settings.encoder, folder, settings.seed)


def _decide(
    fitted: FittedEncoder, sets: TrainingData, settings: FitSettings, target: tuple[float, ...]
) -> tuple[PosteriorCorrector, dict[str, Any]]:
    corrector = PosteriorCorrector(sets.topics, fitted.model_prior, Calibration(), target, fitted.link).with_decision(
        settings.decision
    )
    held_out = fitted.held_out
    if held_out is None:
        log.warning("no rows to validate on: the probabilities are not calibrated")
        log.info("decision: %s", corrector.decision)  # if it cannot be fitted, raises before the decoder is fitted
        return corrector, {}
    logits, labels = held_out.logits, held_out.labels
    if settings.model_prior == "mean_posterior":
        measured = prior_from_predictions(
            fitted.link(logits).exp(), labels, torch.tensor(fitted.model_prior, dtype=torch.float64)
        )
        corrector = replace(corrector, model_prior=tuple(measured.tolist()))
    corrector = corrector.calibrate(logits, labels, settings.calibration or "none")
    if settings.calibration not in (None, "none"):
        log.info("calibration: %s", corrector.calibration.report)
    if settings.decision != DecisionSettings():
        log.info("decision: %s", corrector.decision)
    views = {prior: topic_metrics(_under(prior, corrector, logits), labels, sets.topics.counts) for prior in PRIORS}
    log.info("held-out rows: %s", "; ".join(_said_of(prior, view) for prior, view in views.items()))
    probabilities = corrector(logits)
    recall = topic_recall(probabilities, labels).tolist()
    return corrector, {
        "validation": topic_metrics(probabilities, labels, sets.topics.counts),
        "validation_by_target_prior": views,
        "validation_recall": {
            name: value for name, value in zip(sets.topics.names, recall, strict=True) if value == value
        },
        "calibration": str(corrector.calibration.report),
        **({} if settings.decision == DecisionSettings() else {"decision": str(corrector.decision)}),
        "encoder": list(fitted.notes),
    }


def _under(prior: Prior, corrector: PosteriorCorrector, logits: Tensor) -> Tensor:
    """Probabilities (n, C) under a target prior; "adaptive" is adapted to these rows, as a job's is to its own."""
    if prior != "adaptive":
        return corrector.with_target_prior(prior)(logits)
    adapted = adapt_target(replace(corrector, rows=None), logits)  # the errors, from `rows`, would take longer
    return corrector.with_target_prior(adapted.shares)(logits)


def _said_of(prior: str, metrics: Mapping[str, float | None]) -> str:
    figures = ("accuracy", "balanced_accuracy", "macro_f1")
    return f"target_prior {prior}: " + ", ".join(f"{name.replace('_', ' ')} {metrics[name]:.3f}" for name in figures)


def _description(settings: FitSettings, decoder: TopicDecoder | None) -> dict[str, Any]:
    facts = None
    if decoder is not None and decoder.facts is not None:
        facts = {**asdict(decoder.facts), "trainable_share": decoder.facts.share}
    stored = asdict(settings)
    for stage in ("encoder", "decoder"):
        if stored[stage]:
            del stored[stage]["trainer"]  # specific to this machine, and not always plain data
    stored["data"] |= {name: Path(path).name for name, path in stored["data"].items() if isinstance(path, str)}
    return {"settings": stored, "decoder_facts": facts}
