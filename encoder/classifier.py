"""Stage 1 as a scikit-learn classifier of texts: grid search, cross-validation, calibration and noise finders take it.

Knows scikit-learn's conventions, the encoder's training and the balance room's mathematics; no files of records.
"""

import logging
import tempfile
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from ..balance import Calibration, DecisionSettings, LossSettings, PosteriorCorrector, TargetPrior
from ..common import UserError
from ..corpus import Record, Topics, stratified_split
from ..training import PhaseSettings, ScratchSettings, one_fit_at_a_time
from .nested_params import NestedSettings
from .recipe import fit_topic_encoder
from .settings import EncoderSettings
from .texts_and_labels import as_classes, as_indices, as_texts, as_weights, topic_names
from .topic_encoder import TopicEncoder

_ON_GPU = Lock()  # a thread that is done would take the model away from another
_LOUD = ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric", "transformers")


class TopicClassifier(ClassifierMixin, NestedSettings):
    """A text classifier that does not copy the class frequencies of its training set.

    Threads may share one, fitted; fits in several threads wait for each other. After a fork see `TopicEncoder`.

    X is a sequence of strings: a list, a 1-D array, a pandas Series; or a single column of them, as `BaggingClassifier`
    wants it (cleanlab's `CleanLearning` wants an array or a Series). A share of it is held out: it decides which
    epoch's weights are kept, and calibrates the probabilities; those are right for `target_prior`. Parameters that are
    settings nest: with `loss=LossSettings("focal")` there is `loss__gamma`.

    Args:
        base: Hub id or local folder of a pretrained model; None trains a small one from scratch.
        recipe: "tuned", "probe" or "phases", see `unskew.encoder.EncoderSettings`; None is what suits `base`. "tuned"
            and "probe" hold rows out by themselves and then train on all.
        scratch: Size of the model from scratch; None is the default size of `EncoderSettings`.
        max_tokens: Texts are read up to this many tokens.
        epochs: Passes over the training rows at most; None is what suits `base`.
        learning_rate: Peak of the schedule; None is what suits `base`.
        tokens_per_batch: Padded tokens of a training batch.
        loss: Name of the loss, or `unskew.balance.LossSettings`.
        class_weight: Weights of the classes in the loss: "balanced", {label: weight}, or another of the weights that
            `LossSettings` has; None is what the loss has. They act on what is learned; what is decided is
            for `target_prior`, whose correction takes them into account.
        sampling_ratio: Largest over smallest class in an epoch after tempered over- and undersampling; None samples
            the rows as they are.
        validation_share: Share of the rows held out, each class in proportion. 0 holds none out: then training rows
            decide which epoch is kept, and nothing is calibrated.
        calibration: Kind of calibration, see `unskew.balance.fit_calibration`; "none" for none; None is none for the
            recipes "tuned" and "probe", which fit a scale, and bias_corrected_temperature otherwise.
        target_prior: The class shares to be right for: "uniform", "train", or {label: share}. Read when predicting:
            changing it needs no refit.
        decision: `unskew.balance.DecisionSettings`, its topics being labels: which class is decided for under the
            target prior; None is the most probable one. Where it leaves rows undecided, `predict` gives an array of
            objects with None there. Read when predicting, too.
        trainer: Arguments of `lightning.Trainer`; one device unless given.
        work_folder: Where checkpoints go, so that an interrupted fit with the same inputs and `random_state` goes on;
            None keeps nothing.
        random_state: Random seed of weights, order, dropout and the rows held out.

    Attributes:
        classes_: Labels (C,), sorted.
        encoder_: The fitted `TopicEncoder`, its topics in the order of `classes_`; `encoder_.save_pretrained` writes a
            folder that plain transformers loads.
        class_count_: Rows (C,) trained on; with sample weights, which are scaled to a mean of 1, the sum of these.
        model_prior_: The prior (C,) that the loss taught the model.
        loss_link_: Undoes what the loss distorts, where it is not proper.
        calibration_: The fitted `Calibration` under the training prior; its `report` says whether it helped.
        corrector_: The `PosteriorCorrector`, from logits to probabilities and decisions; has the held-out rows too.
    """

    def __init__(
        self,
        base: str | None = None,
        *,
        recipe: Any = None,
        scratch: ScratchSettings | None = None,
        max_tokens: int = 256,
        epochs: int | None = None,
        learning_rate: float | None = None,
        tokens_per_batch: int = 4096,
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
        self.scratch = scratch
        self.max_tokens = max_tokens
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.tokens_per_batch = tokens_per_batch
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
            X: The texts.
            y: Their labels.
            sample_weight: How much each row counts (n,), in proportion; rows of weight 0 are left out.
            calibration_set: Texts and labels apart from X, to calibrate on (and from scratch to choose the epoch on):
                then no row of X is held out.

        Raises:
            ValueError: If X are no texts, y are no class labels or of one class, or a parameter does not fit.
        """
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
        folder = nullcontext(self.work_folder) if self.work_folder else tempfile.TemporaryDirectory()
        with one_fit_at_a_time(), folder as place, _quiet(), torch.random.fork_rng():
            measured = validation if validation or probed else train
            fitted = fit_topic_encoder(train, measured, None, topics, settings, str(place), seed)
        self.encoder_ = fitted.encoder
        corrector = PosteriorCorrector(topics, fitted.model_prior, Calibration(), topics.prior, fitted.link)
        if fitted.held_out is not None and (validation or probed):
            kind: Any = self.calibration or ("none" if probed and not apart else "bias_corrected_temperature")
            held = fitted.held_out
            corrector = corrector.calibrate(held.logits, held.labels, kind, held.weights)
        self.model_prior_, self.loss_link_ = np.array(corrector.model_prior), corrector.link
        self.calibration_ = corrector.calibration
        self.corrector_ = corrector
        self.corrector_ = self._corrector()
        _ = self.corrector_.decision  # refused now rather than when predicting
        return self

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """The label (n,) decided for under the target prior; with a decision that leaves rows undecided, None there."""
        log_probabilities = torch.from_numpy(self._log_probabilities(X))
        chosen = self._corrector().decision.decision(log_probabilities.exp()).numpy()
        if (chosen >= 0).all():
            return self.classes_[chosen]
        return np.array([self.classes_[index] if index >= 0 else None for index in chosen], dtype=object)

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """Calibrated probabilities (n, C) under the target prior, in the order of `classes_`."""
        probabilities = np.exp(self._log_probabilities(X))
        return probabilities / probabilities.sum(axis=1, keepdims=True)

    def predict_log_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """The logarithms (n, C) of `predict_proba`, finite where those round to 0."""
        return self._log_probabilities(X)

    def decision_function(self, X: Any) -> np.ndarray:  # noqa: N803
        """Log-probabilities (n, C) of `predict_proba`; of two classes the log-odds (n,) of the second."""
        values = self._log_probabilities(X)
        return values[:, 1] - values[:, 0] if len(self.classes_) == 2 else values

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags

    def _split(self, rows: list[Record], seed: int) -> tuple[list[Record], list[Record]]:
        """Rows to train on and rows held out, none of which repeats a text that is trained on."""
        if not 0 <= self.validation_share < 1:
            raise UserError(f"validation_share is {self.validation_share}; give at least 0 and less than 1")
        if not self.validation_share:
            return rows, []
        rest, held_out = stratified_split([str(row.topic) for row in rows], self.validation_share, seed)
        trained = {rows[index].text for index in rest}
        fresh = {index for index in held_out if rows[index].text not in trained}
        return [row for index, row in enumerate(rows) if index not in fresh], [rows[index] for index in sorted(fresh)]

    def _settings(self, names: list[str]) -> EncoderSettings:
        loss = self.loss if isinstance(self.loss, LossSettings) else LossSettings(self.loss)  # pyright: ignore[reportArgumentType]
        weights = loss.weights if self.class_weight is None else self.class_weight
        if isinstance(weights, Mapping):
            weights = dict(zip(names, self._by_class(weights, 1.0, "class_weight"), strict=True))
        return EncoderSettings(
            base=self.base,
            recipe=self.recipe,
            scratch=self.scratch or EncoderSettings().scratch,
            max_tokens=self.max_tokens,
            tokens_per_batch=self.tokens_per_batch,
            clean=PhaseSettings(epochs=self.epochs, learning_rate=self.learning_rate),
            loss=replace(loss, weights=weights),
            sampling_ratio=self.sampling_ratio,
            trainer={"devices": 1, **(self.trainer or {})},
        )

    def _log_probabilities(self, X: Any) -> np.ndarray:  # noqa: N803
        """Float64 (n, C) under the target prior."""
        check_is_fitted(self)
        return self._corrector().log_probabilities(self._logits(as_texts(X))).double().numpy()

    def _logits(self, texts: list[str]) -> torch.Tensor:
        return _logits(self.encoder_, texts, (self.trainer or {}).get("accelerator", "auto"))

    def _corrector(self) -> PosteriorCorrector:
        """For the target prior and the decision as they are set now."""
        return self.corrector_.with_target_prior(self._target()).with_decision(self._asked())

    def _asked(self) -> DecisionSettings:
        """`decision` by topic name."""
        asked = self.decision or DecisionSettings()
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
            return dict(zip(self.encoder_.topics, self._by_class(self.target_prior, 0.0, "target_prior"), strict=True))
        if self.target_prior not in ("uniform", "train"):
            raise UserError(f"target_prior is {self.target_prior!r}; give uniform, train, or shares by label")
        return self.target_prior

    def _by_class(self, values: Mapping[Any, float], default: float, parameter: str) -> list[float]:
        """Values (C,) in the order of the classes."""
        return [float(self._known(values, parameter).get(label, default)) for label in self.classes_.tolist()]

    def _named(self, values: Mapping[Any, Any], parameter: str) -> dict[str, Any]:
        """The same by topic name."""
        names = dict(zip(self.classes_.tolist(), self.encoder_.topics, strict=True))
        return {names[label]: value for label, value in self._known(values, parameter).items()}

    def _known(self, values: Mapping[Any, Any], parameter: str) -> Mapping[Any, Any]:
        classes = self.classes_.tolist()
        if unknown := [label for label in values if label not in classes]:
            raise UserError(f"{parameter} names {unknown[0]!r}, which is not among the labels {classes[:10]}")
        return values


def _logits(encoder: TopicEncoder, texts: list[str], accelerator: str) -> torch.Tensor:
    """Logits (n, C), on a GPU where training would take one; the model rests on the CPU: its pickles load anywhere."""
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
    """Keep the libraries' banners and hints away while the block runs: a search fits hundreds of times."""
    loggers = [logging.getLogger(name) for name in _LOUD]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for module in (r"lightning\..*", r"transformers\..*"):
            warnings.filterwarnings("ignore", module=module)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
