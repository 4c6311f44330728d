"""Stage 1 from rows to a fitted classifier: by phases, by a probe, or tuned from a probe if that is better.

Knows the recipes and their comparisons; knows nothing of how a step works. With a probe, every clean row is trained on:
choices and calibration use predictions for rows that a model was not fitted on.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..balance import uniform_prior
from ..corpus import Record, Topics, record_weights
from .choice import SHARES, Choice, choose
from .fitted import FittedEncoder, HeldOut
from .fitting import fit_encoder
from .output_layer import set_output_layer
from .probe import Probe, ProbeRows, fit_head, fit_probe
from .probed_base import ProbedBase, Tuned
from .sampling import topic_loss_link, topic_prior_from_loss
from .settings import EncoderSettings
from .topic_encoder import TopicEncoder

log = logging.getLogger("unskew")

PROBE_FOLDS = 5
FEW_TOKENS = 250_000  # tokens of all clean rows; up to this size, each of two halves is held out of one tuning
HALVES = 2
PARTS = 5  # with more tokens, one of five parts is held out of a single tuning, and the final head uses all rows


def fit_topic_encoder(
    train: Sequence[Record],
    validation: Sequence[Record],
    noisy: Sequence[Record] | None,
    topics: Topics,
    settings: EncoderSettings,
    folder: str | Path,
    seed: int = 0,
) -> FittedEncoder:
    """Fit a topic classifier by the recipe of its settings, or resume an interrupted fit with the same inputs.

    Args:
        train: Clean set, with at least one row for each topic.
        validation: Held-out clean rows. The recipes "tuned" and "probe" need none; if given, the classifier is
            calibrated on them.
        noisy: Rows whose topics may be wrong, if there are any; "tuned" and "probe" use them if that helps on clean
            rows.
        topics: Topics of the clean set, with their counts.
        settings: Settings of the encoder.
        folder: Folder of checkpoints and logs; created if missing.
        seed: Random seed.

    Raises:
        UserError: If the base cannot be used.
    """
    settings = settings.resolved()
    if settings.recipe == "phases":
        encoder = fit_encoder(train, validation, noisy, topics, settings, folder, seed)
        link = topic_loss_link(settings, train, topics)
        fitted = FittedEncoder(encoder, topic_prior_from_loss(settings, train, topics), None, link=link)
    else:
        fitted = _fit_probed(ProbedBase.make(train, noisy or (), topics, settings, Path(folder), seed))
    answers = _answers(fitted.encoder, validation, topics)
    return fitted if answers is None else replace(fitted, held_out=answers)


def _fit_probed(base: ProbedBase) -> FittedEncoder:
    frozen = base.rows()
    probe = fit_probe(frozen, base.folds(PROBE_FOLDS))
    base = base.using(probe)
    log.info("encoder, probe: %s", "; ".join(probe.report))
    notes = (f"probe: {'; '.join(probe.report)}",)
    held_out, head = probe.held_out[frozen.measured], probe.head
    if base.settings.recipe == "tuned":
        few = base.tokens <= FEW_TOKENS
        choice, tuned = _choose(base, probe, probe.used(frozen), HALVES if few else PARTS, HALVES if few else 1)
        log.info("encoder, %s", choice)
        notes += (str(choice),)
        if choice.refit_share is not None:
            if few:
                everything = torch.ones(len(base.clean), dtype=torch.bool)
                tuned = base.tune(everything, "all rows", head.scaled(1 / probe.scale))
            held_out, head = choice.logits, choice.head(tuned.head, fit_head(tuned.rows, probe.strength, probe.scale))
        else:
            base.restore()
    set_output_layer(base.model, head.weight, head.bias)
    model_prior = tuple(uniform_prior(len(base.topics)).tolist())
    return FittedEncoder(base.encoder, model_prior, _held_out(held_out, frozen.only_measured()), notes)


def _choose(base: ProbedBase, probe: Probe, frozen: ProbeRows, parts: int, tuned_for: int) -> tuple[Choice, Tuned]:
    """Tune on all parts of the rows but one, predict that part, and compare with probes fitted on the same rows.

    Args:
        base: Base with the rows that the probe uses.
        probe: Probe that says how heads are fitted.
        frozen: Same rows with the features of the untuned base.
        parts: Number of parts of the clean rows.
        tuned_for: Number of parts that are held out, each of its own tuning.

    Returns: The choice, by the rows that are not synthetic, and the last tuned model with the features of every row.
    """
    folds = torch.tensor(base.folds(parts))
    unsaid = torch.full((len(base.clean), len(base.topics)), torch.nan)
    by_probe, by_tuned, by_refit = unsaid.clone(), unsaid.clone(), unsaid.clone()
    tuned = Tuned(probe.head, frozen)
    for fold in range(tuned_for):
        left_out = folds == fold
        held_out = left_out & frozen.measured
        if not held_out.any():
            continue
        head = fit_head(frozen.without(left_out), probe.strength, probe.scale)
        tuned = base.tune(~left_out, f"fold {fold + 1}", head)
        features = tuned.rows.clean.features[held_out]
        refit = fit_head(tuned.rows.without(left_out), probe.strength, probe.scale)
        by_probe[held_out] = head(frozen.clean.features[held_out])
        by_tuned[held_out], by_refit[held_out] = tuned.head(features), refit(features)
    own, rows = frozen.measured, frozen.only_measured()
    # The head of a single tuning, which is not done again, has not seen the part that was held out.
    shares = SHARES if parts == tuned_for else SHARES[1:]
    logits, known = (by_probe[own], by_tuned[own], by_refit[own]), (rows.clean.labels, rows.prior, rows.clean.weights)
    return choose(*logits, *known, shares), tuned


def _held_out(logits: Tensor, rows: ProbeRows) -> HeldOut | None:
    """The predictions (n, C) that exist for the clean rows."""
    known = logits.isfinite().all(-1)
    return HeldOut(logits[known], rows.clean.labels[known], rows.clean.weights[known]) if known.any() else None


def _answers(encoder: TopicEncoder, records: Sequence[Record], topics: Topics) -> HeldOut | None:
    if not records:
        return None
    labels = torch.tensor(topics.encode(str(record.topic) for record in records))
    weights = torch.from_numpy(record_weights(records))
    return HeldOut(encoder.logits([record.text for record in records]), labels, weights)
