"""Stage 1 from rows to a fitted classifier: by phases, by a probe, or tuned from a probe where that is better.

Knows which recipe the settings name and what is compared with what; each step is its own module's. With a probe every
clean row is trained on: what is chosen and calibrated is so on what models said of rows that they were not fitted on.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..balance import uniform_prior
from ..corpus import Record, Topics, record_weights
from .choice import Choice, choose
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
FEW_TOKENS = 250_000  # of all clean rows; up to here each is tuned on, and held out as well: in one of two halves
HALVES = 2
PARTS = 5  # of more: one of them is held out of the only tuning, and no row of the head that follows it


def fit_topic_encoder(
    train: Sequence[Record],
    validation: Sequence[Record],
    noisy: Sequence[Record] | None,
    topics: Topics,
    settings: EncoderSettings,
    folder: str | Path,
    seed: int = 0,
) -> FittedEncoder:
    """Fit a topic classifier by the recipe of its settings, going on where an equal call was interrupted.

    Args:
        train: The clean set; each topic has at least one row.
        validation: Clean rows held out of it. The recipes "tuned" and "probe" need none: where there are some, they
            are what the classifier is calibrated on.
        noisy: Rows whose topics need not be right, if there are any; "tuned" and "probe" use them where that helps on
            clean rows.
        topics: Topics of the clean set, with their counts.
        settings: The user's choices.
        folder: Where checkpoints and logs go; made if missing.
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
    held_out, head = probe.held_out, probe.head
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
    weights = torch.from_numpy(record_weights(base.clean))
    return FittedEncoder(base.encoder, model_prior, _known(held_out, base.labels, weights), notes)


def _choose(base: ProbedBase, probe: Probe, frozen: ProbeRows, parts: int, tuned_for: int) -> tuple[Choice, Tuned]:
    """Tune on all but a part of the rows, ask about that, and compare with probes fitted on the same rows.

    Args:
        base: With the rows that the probe uses.
        probe: Says how heads are fitted.
        frozen: The same rows with their features by the base as it came.
        parts: Into how many the clean rows are dealt.
        tuned_for: How many of these are held out, each of a tuning of its own.

    Returns:
        What was chosen; and the model that was tuned last, with the features of every row.
    """
    folds = torch.tensor(base.folds(parts))
    unsaid = torch.full((len(base.clean), len(base.topics)), torch.nan)
    by_probe, by_tuned, by_refit = unsaid.clone(), unsaid.clone(), unsaid.clone()
    tuned = Tuned(probe.head, frozen)
    for fold in range(tuned_for):
        held_out = folds == fold
        if not held_out.any():
            continue
        head = fit_head(frozen.without(held_out), probe.strength, probe.scale)
        tuned = base.tune(~held_out, f"fold {fold + 1}", head)
        features = tuned.rows.clean.features[held_out]
        refit = fit_head(tuned.rows.without(held_out), probe.strength, probe.scale)
        by_probe[held_out] = head(frozen.clean.features[held_out])
        by_tuned[held_out], by_refit[held_out] = tuned.head(features), refit(features)
    return choose(by_probe, by_tuned, by_refit, base.labels, frozen.prior, frozen.clean.weights), tuned


def _known(logits: Tensor, labels: Tensor, weights: Tensor) -> HeldOut | None:
    known = logits.isfinite().all(-1)
    return HeldOut(logits[known], labels[known], weights[known]) if known.any() else None


def _answers(encoder: TopicEncoder, records: Sequence[Record], topics: Topics) -> HeldOut | None:
    if not records:
        return None
    labels = torch.tensor(topics.encode(str(record.topic) for record in records))
    weights = torch.from_numpy(record_weights(records))
    return HeldOut(encoder.logits([record.text for record in records]), labels, weights)
