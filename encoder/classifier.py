"""Stage 1 as a scikit-learn text classifier, for grid search, cross-validation, calibration and noise finders.

Knows scikit-learn's conventions, the encoder's training and the balance room; knows no files of records.
"""

import tempfile
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from ..balance import (
    Calibration,
    DecisionSettings,
    LossSettings,
    PosteriorCorrector,
    TargetPrior,
    check_calibration_kind,
    resolve_prior,
)
from ..common import UserError, check_seed, check_settings, errors_only
from ..corpus import Record, Topics, stratified_split, text_key
from ..training import PhaseSettings, ScratchSettings, one_fit_at_a_time
from .nested_params import NestedSettings
from .recipe import fit_topic_encoder
from .settings import EncoderSettings
from .texts_and_labels import as_classes, as_indices, as_labels, as_texts, as_weights, topic_names
from .topic_encoder import TopicEncoder

_ON_GPU = Lock()  # otherwise a thread that finishes would move the model off the GPU while another uses it
_LOUD = ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric", "transformers")


class TopicClassifier(ClassifierMixin, NestedSettings):
    """A text classifier that does not copy the class frequencies of its training set.

    Threads may share a fitted classifier; fits in several threads wait for each other. For forks see `TopicEncoder`.

    X is a sequence of strings (a list, a 1-D array, a pandas Series) or a table with a single column of them, which
    `BaggingClassifier` needs (cleanlab's `CleanLearning` needs an array or a Series). A share of the rows is held out,
    to choose the epoch whose weights are kept and to calibrate the probabilities, which are for `target_prior`.
    Settings are nested parameters: `loss=LossSettings("focal")` has `loss__gamma`.

    Args:
        base: Hub id or local folder of a pretrained model; None trains a small one from scratch.
        recipe: Recipe "tuned", "probe" or "phases", see `unskew.encoder.EncoderSettings`; None chooses by `base`.
            "tuned" and "probe" hold rows out by themselves and then train on all.
        names: Whether the labels, as texts, are rows too, unless that hurts (not in "phases").
        scratch: Size of the model from scratch; None is the default size of `EncoderSettings`.
        max_tokens: Most tokens of a text that are read.
        epochs: Most passes over the training rows; None chooses by `base`.
        learning_rate: Peak learning rate of the schedule; None chooses by `base`.
        tokens_per_batch: Padded tokens of a training batch.
        rows_per_batch: Most rows of a training batch of "tuned".
        max_steps: Most training steps of "tuned", though at least one pass over the rows.
        loss: Name of the loss of "phases", or `unskew.balance.LossSettings`.
        class_weight: Weights of the classes in the loss of "phases": "balanced", {label: weight}, or another scheme of
            `LossSettings`; None is the default of the loss. The weights affect training only: decisions are for
            `target_prior`, and its correction accounts for them. "tuned" and "probe" favour no class, so they take
            "balanced" or None, which mean the same there.
        sampling_ratio: Largest over smallest class in an epoch of "phases" after tempered over- and undersampling;
            None takes the rows as they are.
        validation_share: Share of the rows held out, each class in proportion. With 0, training rows decide which epoch
            is kept, and nothing is calibrated.
        calibration: Kind of calibration, see `unskew.balance.fit_calibration`; "none" is none. None is "none" for the
            recipes "tuned" and "probe" without a `calibration_set`, because they fit a scale on the rows that they hold
            out, else bias_corrected_temperature.
        target_prior: Class shares to predict for: "uniform", "train", or {label: share}. Read at prediction, so a
            change needs no refit.
        decision: Decision rule as `unskew.balance.DecisionSettings`, with labels as topics; None takes the most
            probable class. If it leaves rows undecided, `predict` gives an array of objects with None for them, and
            `score` counts them as wrong. Read at prediction.
        trainer: Arguments of `lightning.Trainer`; one device unless given.
        work_folder: Folder of checkpoints, from which an interrupted fit with the same inputs and `random_state`
            resumes; None keeps none.
        random_state: Random seed of weights, order, dropout and the rows held out.

    Attributes:
        classes_: Labels (C,), sorted.
        encoder_: The fitted `TopicEncoder`, its topics in the order of `classes_`; `encoder_.save_pretrained` writes a
            folder that plain transformers loads.
        class_count_: Training rows of each class (C,), or the sum of their sample weights, scaled to a mean of 1.
        model_prior_: Prior (C,) that the loss taught the model.
        loss_link_: Link that undoes the distortion of a loss that is not proper.
        calibration_: Fitted `Calibration` under the training prior; its `report` says whether it helped.
        corrector_: `PosteriorCorrector`, from logits to probabilities and decisions, with the held-out rows; for the
            `target_prior` and `decision` of the last prediction.
    """

    def __init__(
        self,
        base: str | None = None,
        *,
        recipe: Any = None,
        names: bool = True,
        scratch: ScratchSettings | None = None,
        max_tokens: int = 256,
        epochs: int | None = None,
        learning_rate: float | None = None,
        tokens_per_batch: int = 4096,
        rows_per_batch: int = 16,
        max_steps: int = 600,
        loss: str | LossSettings = "cross_entropy",
        class_weight: Any = None,
        sampling_ratio: float | None = None,
        validation_share: float = 0.15,
        calibration: str | None = None,
        target_prior: Any = "uniform",
        decision: DecisionSettings | None = None,
        trainer: Mapping[str, Any] | None = None,
        work_folder: str | Path | None = None,
        random_state: Any = None,
    ) -> None:
        self.base = base
        self.recipe = recipe
        self.names = names
        self.scratch = scratch
        self.max_tokens = max_tokens
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.tokens_per_batch = tokens_per_batch
        self.rows_per_batch = rows_per_batch
        self.max_steps = max_steps
        self.loss = loss
        self.class_weight = class_weight
        self.sampling_ratio = sampling_ratio
        self.validation_share = validation_share
        self.calibration = calibration
        self.target_prior = target_prior
        self.decision = decision
        self.trainer = trainer
        self.work_folder = work_folder
        self.random_state = random_state

    def fit(
        self,
        X: Any,  # noqa: N803
        y: Any,
        sample_weight: Any = None,
        calibration_set: tuple[Any, Any] | None = None,
    ) -> "TopicClassifier":
        """Fit on texts X (n,) and labels y (n,).

        Args:
            X: Texts.
            y: Labels of the texts.
            sample_weight: Relative weights of the rows (n,); rows of weight 0 are left out.
            calibration_set: Other texts and labels to calibrate on (and, from scratch, to choose the epoch on); no row
                of X is held out then.

        Raises:
            ValueError: If X is not texts, y is not class labels or has only one class, or a parameter does not fit.
        """
        made = copy(self)  # a fit that fails leaves this classifier as it was
        made._fit(X, y, sample_weight, calibration_set)
        vars(self).update(vars(made))
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any, calibration_set: tuple[Any, Any] | None) -> None:  # noqa: N803
        if isinstance(self.random_state, Integral):
            check_seed(int(self.random_state), "random_state")
        texts = as_texts(X)
        weights = as_weights(sample_weight, len(texts))
        self.classes_, indices = as_classes(y, len(texts), weights)
        names = topic_names(self.classes_)
        rows = [
            Record(text, str(row), names[index], weight=weight)
            for row, (text, index, weight) in enumerate(zip(texts, indices, weights, strict=True))
            if weight > 0
        ]
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        settings = self._settings(names)
        probed, apart = settings.recipe_in_force != "phases", calibration_set is not None
        train, validation = (rows, []) if probed or apart else self._split(rows, seed)
        if calibration_set is not None:
            validation = self._apart(*calibration_set, names)
        counts = dict.fromkeys(names, 0.0)
        for row in train:
            counts[str(row.topic)] += row.weight
        self.class_count_ = np.array(list(counts.values()), dtype=int if sample_weight is None else float)
        topics = Topics(tuple(names), tuple(self.class_count_.tolist()))
        self._check_prediction(topics)
        folder = nullcontext(self.work_folder) if self.work_folder else tempfile.TemporaryDirectory()
        with one_fit_at_a_time(), folder as place, _quiet(), torch.random.fork_rng():
            measured = validation if validation or probed else train
            fitted = fit_topic_encoder(train, measured, None, topics, settings, str(place), seed)
        fitted.encoder.model.to("cpu")  # where a probe was fitted on a GPU  # pyright: ignore[reportArgumentType]
        self.encoder_ = fitted.encoder
        corrector = PosteriorCorrector(topics, fitted.model_prior, Calibration(), topics.prior, fitted.link)
        if fitted.held_out is not None and (validation or probed):
            kind: Any = self.calibration or settings.usual_calibration(apart)
            held = fitted.held_out
            corrector = corrector.calibrate(held.logits, held.labels, kind, held.weights)
        self.model_prior_, self.loss_link_ = np.array(corrector.model_prior), corrector.link
        self.calibration_ = corrector.calibration
        self.corrector_ = corrector
        _ = self._corrector().decision  # raises now rather than at prediction

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Decided labels (n,) under the target prior; None for rows that the decision leaves undecided."""
        log_probabilities = torch.from_numpy(self._log_probabilities(X))
        chosen = self._corrector().decision.decision(log_probabilities.exp()).numpy()
        if (chosen >= 0).all():
            return self.classes_[chosen]
        return np.array([self.classes_[index] if index >= 0 else None for index in chosen], dtype=object)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """Accuracy of the decided labels of texts X (n,) against y (n,); a row left undecided counts as wrong."""
        texts = as_texts(X)
        right = self.predict(texts) == as_labels(y, len(texts))
        return float(np.average(right, weights=sample_weight))

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """Calibrated probabilities (n, C) under the target prior, in the order of `classes_`."""
        probabilities = np.exp(self._log_probabilities(X))
        return probabilities / probabilities.sum(axis=1, keepdims=True)

    def predict_log_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """Logarithms (n, C) of `predict_proba`, finite even where those round to 0."""
        return self._log_probabilities(X)

    def decision_function(self, X: Any) -> np.ndarray:  # noqa: N803
        """Log-probabilities (n, C) as in `predict_log_proba`; for two classes the log-odds (n,) of the second."""
        values = self._log_probabilities(X)
        return values[:, 1] - values[:, 0] if len(self.classes_) == 2 else values

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags

    def _split(self, rows: list[Record], seed: int) -> tuple[list[Record], list[Record]]:
        """Training rows and held-out rows; no held-out row repeats a training text, see `folds_of`."""
        share = _number("validation_share", self.validation_share)
        if not 0 <= share < 1:
            raise UserError(f"validation_share is {share}; give at least 0 and less than 1")
        if not share:
            return rows, []
        rest, held_out = stratified_split([str(row.topic) for row in rows], share, seed)
        trained = {text_key(rows[index].text) for index in rest}
        fresh = {index for index in held_out if text_key(rows[index].text) not in trained}
        return [row for index, row in enumerate(rows) if index not in fresh], [rows[index] for index in sorted(fresh)]

    def _settings(self, names: list[str]) -> EncoderSettings:
        if self.scratch is not None:
            check_settings("scratch", self.scratch, ScratchSettings)
        if not isinstance(self.loss, str):
            check_settings("loss", self.loss, LossSettings)
        settings = EncoderSettings(
            base=self.base,
            recipe=self.recipe,
            names=self.names,
            scratch=self.scratch or EncoderSettings().scratch,
            max_tokens=_whole("max_tokens", self.max_tokens),
            tokens_per_batch=_whole("tokens_per_batch", self.tokens_per_batch),
            rows_per_batch=_whole("rows_per_batch", self.rows_per_batch),
            max_steps=_whole("max_steps", self.max_steps),
            clean=PhaseSettings(
                epochs=None if self.epochs is None else _whole("epochs", self.epochs),
                learning_rate=None if self.learning_rate is None else _number("learning_rate", self.learning_rate),
            ),
            loss=self.loss if isinstance(self.loss, LossSettings) else LossSettings(self.loss),  # pyright: ignore[reportArgumentType]
            sampling_ratio=None if self.sampling_ratio is None else _number("sampling_ratio", self.sampling_ratio),
            trainer={"devices": 1, **(self.trainer or {})},
        )
        return self._weighted(settings, names)

    def _weighted(self, settings: EncoderSettings, names: list[str]) -> EncoderSettings:
        """The settings with `class_weight`; a recipe that favours no class is balanced as it is."""
        weights, recipe = self.class_weight, settings.recipe_in_force
        if isinstance(weights, Mapping):
            weights = dict(zip(names, self._by_class(weights, 1.0, "class_weight"), strict=True))
        if weights is None or (recipe != "phases" and weights == "balanced"):
            return settings
        if recipe != "phases":
            raise UserError(
                f"class_weight has no effect with recipe {recipe}, except for 'balanced', which it is anyway; give "
                "target_prior={label: share} for what to predict for, sample_weight for rows, or recipe='phases'"
            )
        return replace(settings, loss=replace(settings.loss, weights=weights))

    def _log_probabilities(self, X: Any) -> np.ndarray:  # noqa: N803
        """Float64 log-probabilities (n, C) under the target prior."""
        check_is_fitted(self)
        return self._corrector().log_probabilities(self._logits(as_texts(X))).double().numpy()

    def _logits(self, texts: list[str]) -> torch.Tensor:
        return _logits(self.encoder_, texts, (self.trainer or {}).get("accelerator", "auto"))

    def _corrector(self) -> PosteriorCorrector:
        """The corrector for the current `target_prior` and `decision`, kept: fitting a decision may take seconds."""
        corrector = self.corrector_.with_target_prior(self._target()).with_decision(self._asked())
        self.corrector_ = corrector
        return corrector

    def _check_prediction(self, topics: Topics) -> None:
        """Raise now, rather than after the training, if a parameter that is read at prediction does not fit."""
        if self.calibration is not None:
            check_calibration_kind(self.calibration)
        resolve_prior(self._target(), topics)
        _ = self._asked()

    def _asked(self) -> DecisionSettings:
        """`decision` by topic name."""
        asked = DecisionSettings() if self.decision is None else self.decision
        check_settings("decision", asked, DecisionSettings)
        costs = asked.costs and self._named(
            {label: self._named(row, "decision: costs") for label, row in asked.costs.items()}, "decision: costs"
        )
        least = asked.min_confidence
        least = self._named(least, "decision: min_confidence") if isinstance(least, Mapping) else least
        return replace(asked, costs=costs, min_confidence=least)

    def _apart(self, X: Any, y: Any, names: list[str]) -> list[Record]:  # noqa: N803
        texts = as_texts(X)
        labels = as_indices(y, len(texts), self.classes_)
        rows = zip(texts, labels, strict=True)
        return [Record(text, f"apart-{row}", names[label]) for row, (text, label) in enumerate(rows)]

    def _target(self) -> TargetPrior:
        """`target_prior` by topic name."""
        if isinstance(self.target_prior, Mapping):
            return dict(
                zip(topic_names(self.classes_), self._by_class(self.target_prior, 0.0, "target_prior"), strict=True)
            )
        if not isinstance(self.target_prior, str) or self.target_prior not in ("uniform", "train"):
            raise UserError(f"target_prior is {self.target_prior!r}; give uniform, train, or shares by label")
        return self.target_prior

    def _by_class(self, values: Mapping[Any, float], default: float, parameter: str) -> list[float]:
        """Values (C,) in the order of the classes."""
        known = self._known(values, parameter)
        return [_number(parameter, known.get(label, default)) for label in self.classes_.tolist()]

    def _named(self, values: Mapping[Any, Any], parameter: str) -> dict[str, Any]:
        """Values by label as values by topic name."""
        names = dict(zip(self.classes_.tolist(), topic_names(self.classes_), strict=True))
        return {names[label]: value for label, value in self._known(values, parameter).items()}

    def _known(self, values: Mapping[Any, Any], parameter: str) -> Mapping[Any, Any]:
        classes = dict.fromkeys(self.classes_.tolist())
        if unknown := [label for label in values if label not in classes]:
            raise UserError(f"{parameter} names {unknown[0]!r}, which is not among the labels {list(classes)[:10]}")
        return values


def _whole(parameter: str, value: Any) -> int:
    if not isinstance(value, Integral):
        raise UserError(f"{parameter} is {value!r}; give a whole number")
    return int(value)


def _number(parameter: str, value: Any) -> float:
    if not isinstance(value, Real):
        raise UserError(f"{parameter} is {value!r}, where a number is needed; give one")
    return float(value)


def _logits(encoder: TopicEncoder, texts: list[str], accelerator: str) -> torch.Tensor:
    """Logits (n, C), on a GPU if training would use one. The model returns to the CPU: its pickles load anywhere."""
    if accelerator == "cpu" or not torch.cuda.is_available():
        return encoder.logits(texts)
    with _ON_GPU:
        encoder.model.to("cuda")  # pyright: ignore[reportArgumentType]
        try:
            return encoder.logits(texts)
        finally:
            encoder.model.to("cpu")  # pyright: ignore[reportArgumentType]


@contextmanager
def _quiet() -> Generator[None]:
    """Hide the libraries' banners and hints while the block runs; a search fits hundreds of times."""
    with warnings.catch_warnings(), errors_only(*_LOUD):
        for module in (r"lightning\..*", r"transformers\..*"):
            warnings.filterwarnings("ignore", module=module)
        yield
