"""How an arm picks topics for the test rows. Knows what each `decide` and calibration means; trains nothing itself."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor

from ..balance import (
    Calibration,
    PosteriorCorrector,
    adapt_target,
    mean_posterior,
    prior_correct,
    resolve_prior,
    uniform_prior,
)
from ..common import UserError
from ..corpus import Topics
from ..decoder import TopicDecoder
from ..evaluation import bayes_posterior
from ..pipeline import TrainingData
from .costs import Cost
from .data import TestRows
from .models import Fitted, FittedStages, cached
from .settings import ArmSettings

CONTENT_FREE = ("N/A", "[MASK]", "")  # Zhao et al. 2021, section 5


@dataclass
class TopicDecisions:
    """The topics of the test rows.

    Attributes:
        decisions: Topic indices (n,).
        probabilities: Probabilities (n, C) under the arm's prior; None without any.
        chosen: Whether the topics were decided by the arm; given topics are not decisions.
        seconds: Seconds to decide all rows.
        costs: Costs of the training, by stage and phase.
        trainable: Number of parameters trained in the last phase.
        free: The topic of each row (n,) in free generation, None if it names none; empty if it was not run.
    """

    decisions: Tensor
    probabilities: Tensor | None = None
    chosen: bool = True
    seconds: float = 0.0
    costs: dict[str, Cost] = field(default_factory=dict)
    trainable: int = 0
    free: list[str | None] = field(default_factory=list)


def choose(arm: ArmSettings, stages: FittedStages, test: TestRows) -> TopicDecisions:
    """The arm's topics for the test rows; fits the models that it needs."""
    if arm.decide == "gold":
        return TopicDecisions(torch.tensor(test.targets), chosen=False)
    if arm.decide == "shuffled":
        return TopicDecisions(_wrong(test, stages.seed), chosen=False)
    if arm.decide == "svm":
        return _svm(stages.sets(arm), test, stages.seed)
    if arm.decide == "bayes":
        return _bayes(stages.settings.newsroom, test)
    if arm.decide == "probe":
        return _probe(arm, stages, test)
    return _of_model(arm, stages, test)


def _of_model(arm: ArmSettings, stages: FittedStages, test: TestRows) -> TopicDecisions:
    asked = {"decoder": stages.decoder, "zero_shot": stages.zero_shot}.get(arm.decide, stages.encoder)
    fitted = asked(arm)
    sets, texts = stages.sets(arm), test.texts
    logits, seconds = _logits(fitted, texts, "test", sets.topics, _is_fair(arm))
    ordered = [sets.topics.index(name) for name in test.topics.names]
    probabilities = _probabilities(arm, fitted, sets, logits)[:, ordered]
    stage = "decoder" if arm.decide == "decoder" else "encoder"
    choice = TopicDecisions(
        probabilities.argmax(-1),
        probabilities,
        seconds=seconds,
        costs={f"{stage}, {phase}": cost for phase, cost in fitted.costs.items()},
        trainable=fitted.trainable,
    )
    if arm.decide == "decoder":
        model: TopicDecoder = fitted.model
        choice.free, _ = cached(
            fitted, ("free", arm.fairness), lambda: model.generate_topics(texts, fairness=arm.fairness)
        )
    if arm.decide == "head":  # the head's base was trained first
        before = stages.decoder(arm).costs
        choice.costs |= {f"decoder, {phase}": cost for phase, cost in before.items() if phase == "base"}
    return choice


def _probabilities(arm: ArmSettings, fitted: Fitted, sets: TrainingData, logits: Tensor) -> Tensor:
    """Probabilities (n, C), topics in the order of `sets`."""
    if arm.calibration == "contextual":
        said, _ = _logits(fitted, CONTENT_FREE, "content-free", sets.topics, _is_fair(arm))
        return divide_by_prior(logits, said)
    if arm.calibration == "batch":
        return divide_by_prior(logits, logits)
    if arm.target_prior == "raw":
        return logits.softmax(-1)
    target = resolve_prior("train" if arm.target_prior == "train" else "uniform", sets.topics)
    corrector = PosteriorCorrector(
        sets.topics, fitted.model_prior[_is_fair(arm)], Calibration(), target, fitted.links[_is_fair(arm)]
    )
    if sets.validation and arm.calibration != "none":
        held_out, _ = _logits(fitted, [r.text for r in sets.validation], "validation", sets.topics, _is_fair(arm))
        targets = torch.tensor(sets.topics.encode(str(record.topic) for record in sets.validation))
        corrector = corrector.calibrate(held_out, targets, arm.calibration)
    if arm.target_prior == "adaptive":
        corrector = corrector.with_target_prior(adapt_target(corrector, logits).shares)
    return corrector(logits)


def _is_fair(arm: ArmSettings) -> bool:
    """Whether the model that decides gets `<force_fairness>`, which only a decoder knows."""
    return arm.fairness and arm.decide == "decoder"


def divide_by_prior(logits: Tensor, reference: Tensor) -> Tensor:
    """Probabilities (n, C) of logits (n, C) after dividing by the mean probability over reference logits (m, C).

    With content-free texts it is contextual calibration, W = diag(p_cf)^-1, b = 0 (Zhao et al. 2021, section 5). With
    the unlabelled rows themselves it resembles batch calibration (Zhou et al. 2024, eqs. 1 and 2), which subtracts the
    rows' mean score; this function divides by their mean probability. Both are normalised over the topics.
    """
    prior = mean_posterior(reference.softmax(-1))
    return prior_correct(logits, prior / prior.sum(), uniform_prior(logits.shape[-1])).exp()


def _logits(fitted: Fitted, texts: Sequence[str], name: str, topics: Topics, fairness: bool) -> tuple[Tensor, float]:
    model = fitted.model
    columns = [list(model.topics).index(topic) for topic in topics.names]

    def ask() -> Tensor:
        by_decoder = isinstance(model, TopicDecoder)
        found = model.topic_logits(texts, fairness=fairness) if by_decoder else model.logits(texts)
        return found[:, columns]

    return cached(fitted, ("logits", name, fairness), ask)


def _wrong(test: TestRows, seed: int) -> Tensor:
    """A wrong topic for each row, drawn uniformly from the others."""
    draw, topics = random.Random(f"{seed}/wrong"), len(test.topics)
    return torch.tensor([(target + draw.randrange(1, topics)) % topics for target in test.targets])


def _svm(sets: TrainingData, test: TestRows, seed: int) -> TopicDecisions:
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LinearSVC(class_weight="balanced", random_state=seed)
    )
    begun = time.monotonic()
    model.fit([record.text for record in sets.train], [str(record.topic) for record in sets.train])
    trained = time.monotonic()
    decided = test.topics.encode(model.predict(test.texts).tolist())
    costs = {"svm": Cost(seconds=trained - begun, rows=len(sets.train))}
    linear: Any = model[-1]
    trainable = int(linear.coef_.size + linear.intercept_.size)
    return TopicDecisions(torch.tensor(decided), seconds=time.monotonic() - trained, costs=costs, trainable=trainable)


def _probe(arm: ArmSettings, stages: FittedStages, test: TestRows) -> TopicDecisions:
    """A linear head on the hidden states of the arm's decoder, whose weights are not changed."""
    fitted, sets = stages.decoder(arm), stages.sets(arm)
    decoder: TopicDecoder = fitted.model
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    begun = time.monotonic()
    read, _ = cached(fitted, ("features", arm.synthetic), lambda: decoder.features([r.text for r in sets.train]))
    model.fit(read.numpy(), [str(record.topic) for record in sets.train])
    costs = {f"decoder, {phase}": cost for phase, cost in fitted.costs.items()}
    costs["probe, clean"] = Cost(seconds=time.monotonic() - begun, rows=len(sets.train))
    features, seconds = cached(fitted, "test features", lambda: decoder.features(test.texts))
    linear: Any = model[-1]
    probabilities = torch.zeros(len(features), len(test.topics))
    known = [test.topics.index(name) for name in linear.classes_]
    probabilities[:, known] = torch.from_numpy(model.predict_proba(features.numpy())).float()
    trainable = int(linear.coef_.size + linear.intercept_.size)
    return TopicDecisions(probabilities.argmax(-1), probabilities, seconds=seconds, costs=costs, trainable=trainable)


def _bayes(path: str | None, test: TestRows) -> TopicDecisions:
    """The exact posterior under a uniform prior.

    Raises:
        UserError: if the newsroom is not given, or the rows are from another one.
    """
    if path is None:
        raise UserError("the Bayes ceiling needs --newsroom, the newsroom.json beside the rows; or leave the arm out")
    posterior = bayes_posterior(path, test.texts, test.topics.names)
    return TopicDecisions(posterior.argmax(-1), posterior)
