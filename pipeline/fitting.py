"""Fits a whole system: both stages, the calibration between them, the bundle.

Knows the order of the steps; each step is its room's. The stages keep their checkpoints in `OUTPUT.work`, so an
interrupted fit goes on, and a stage whose inputs have not changed is not fitted again.
"""

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only

from ..balance import Calibration, Decider, measure, measured_prior, resolve_prior, topic_recall
from ..common import check_writable, refuse_existing
from ..decoder import TopicDecoder, fit_decoder
from ..encoder import TopicEncoder, fit_encoder, implied_topic_prior, relabelled
from ..runtime import choose_precision, to_precision
from . import bundle
from .datasets import Sets, read_sets
from .hybrid import HybridPipeline, choose_device
from .settings import FitSettings

log = logging.getLogger("unskew")


def fit(settings: FitSettings, output: str | Path, *, overwrite: bool = False) -> HybridPipeline:
    """Fit a system and write its bundle.

    Args:
        settings: The user's choices.
        output: The bundle's folder. Beside it, `OUTPUT.work` keeps the checkpoints that let a fit go on.
        overwrite: Whether a bundle that stands there may be replaced; it is, once the new one is whole.

    Raises:
        UserError: If an input cannot be used, or `output` exists and must not be replaced.
    """
    settings = settings.resolved()
    output = Path(output).resolve()
    refuse_existing(output, overwrite, bundle.MANIFEST)
    work = output.with_name(output.name + ".work")
    check_writable(work)
    sets = read_sets(settings.data, settings.seed, targets=settings.decoder is not None)
    target = resolve_prior(settings.target_prior, sets.topics)
    encoder = fit_encoder(
        sets.train, sets.validation, sets.noisy, sets.topics, settings.encoder, work / "encoder", settings.seed
    )
    device = choose_device()
    encoder.model.to(device)  # pyright: ignore[reportArgumentType]
    decider, metrics = _decide(encoder, sets, settings, target)
    decoder = None
    if settings.decoder is not None:
        noisy = relabelled(sets.noisy or (), encoder, decider)
        decoder = fit_decoder(
            sets.train, sets.validation, noisy, sets.topics, settings.decoder, work / "decoder", settings.seed
        )
        to_precision(decoder.model.to(device), choose_precision(None, device))  # pyright: ignore[reportArgumentType]
    pipeline = HybridPipeline(encoder, decoder, decider, _description(settings, decoder), metrics)
    if getattr(rank_zero_only, "rank", 0) == 0:
        pipeline.save_pretrained(output)
        log.info("the bundle is %s; %s can be deleted (it lets an equal fit skip its stages)", output, work)
    return pipeline


def _decide(
    encoder: TopicEncoder, sets: Sets, settings: FitSettings, target: tuple[float, ...]
) -> tuple[Decider, dict[str, Any]]:
    implied = implied_topic_prior(settings.encoder, sets.train, sets.topics)
    decider = Decider(sets.topics, implied, Calibration(), target)
    if not sets.validation:
        log.warning("no rows to validate on: the probabilities are not calibrated")
        return decider, {}
    logits = encoder.logits([record.text for record in sets.validation])
    targets = torch.tensor(sets.topics.encode(str(record.topic) for record in sets.validation))
    if settings.model_prior == "mean_posterior":
        measured = measured_prior(logits.softmax(-1), targets, torch.tensor(implied, dtype=torch.float64))
        decider = replace(decider, implied=tuple(measured.tolist()))
    decider = decider.fitted(logits, targets, settings.calibration)
    log.info("calibration: %s", decider.calibration.report)
    probabilities = decider(logits)
    recall = topic_recall(probabilities, targets).tolist()
    return decider, {
        "validation": measure(probabilities, targets, sets.topics.counts),
        "validation_recall": {
            name: value for name, value in zip(sets.topics.names, recall, strict=True) if value == value
        },
        "calibration": str(decider.calibration.report),
    }


def _description(settings: FitSettings, decoder: TopicDecoder | None) -> dict[str, Any]:
    facts = None
    if decoder is not None and decoder.facts is not None:
        facts = {**asdict(decoder.facts), "trainable_share": decoder.facts.share}
    stored = asdict(settings)
    for stage in ("encoder", "decoder"):
        if stored[stage]:
            del stored[stage]["trainer"]  # of this machine, and not always plain data
    stored["data"] |= {name: Path(path).name for name, path in stored["data"].items() if isinstance(path, str)}
    return {"settings": stored, "decoder_facts": facts}
