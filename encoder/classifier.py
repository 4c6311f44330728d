"""Stage 1 as a scikit-learn classifier of texts: grid search, cross-validation, calibration and noise finders take it.

Knows scikit-learn's conventions, the encoder's training and the balance room's mathematics; no files of records.
"""

import logging
import tempfile
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from ..balance import Calibration, Decider, LossSettings, TargetPrior
from ..common import UserError
from ..corpus import Record, Topics, stratified_split
from ..training import PhaseSettings, ScratchSettings, one_fit_at_a_time
from .recipe import fit_topic_encoder
from .settings import EncoderSettings
from .texts_and_labels import as_classes, as_texts, topic_names
from .topic_encoder import TopicEncoder

_ON_GPU = Lock()  # a thread that is done would take the model away from another
_LOUD = ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric", "transformers")


class TopicClassifier(ClassifierMixin, BaseEstimator):
    """A text classifier that does not copy the class frequencies of its training set.

    Threads may share one, fitted; fits in several threads wait for each other. After a fork see `TopicEncoder`.

    X is a sequence of strings: a list, a 1-D array, a pandas Series. A share of it is held out: it decides which
    epoch's weights are kept, and calibrates the probabilities; those are right for `target_prior`.

    Args:
        base: Hub id or local folder of a pretrained model; None trains a small one from scratch.
        recipe: "tuned", "probe" or "phases", see `unskew.encoder.EncoderSettings`; None is what suits `base`. "tuned"
            and "probe" hold rows out by themselves and then train on all.
        scratch: Size of the model from scratch; None is the default size of `EncoderSettings`.
        max_tokens: Texts are read up to this many tokens.
        epochs: Passes over the training rows at most; None is what suits `base`.
        learning_rate: Peak of the schedule; None is what suits `base`.
        tokens_per_batch: Padded tokens of a training batch.
        loss: Name of the loss, see `unskew.balance.LossSettings`.
        weights: Class weights: "auto", "none", "balanced", "inverse_frequency", "effective_number" or
            {label: weight}.
        sampling_ratio: Largest over smallest class in an epoch after tempered over- and undersampling; None samples
            the rows as they are.
        validation_share: Share of the rows held out, each class in proportion. 0 holds none out: then training rows
            decide which epoch is kept, and nothing is calibrated.
        calibration: Kind of calibration, see `unskew.balance.fit_calibration`; "none" for none; None is none for the
            recipes "tuned" and "probe", which fit a scale, and bias_corrected_temperature otherwise.
        target_prior: The class shares to be right for: "uniform", "train", or {label: share}. Read when predicting:
            changing it needs no refit.
        trainer: Arguments of `lightning.Trainer`; one device unless given.
        work_folder: Where checkpoints go, so that an interrupted fit with the same inputs and `random_state` goes on;
            None keeps nothing.
        random_state: Of weights, order, dropout and the rows held out.

    Attributes:
        classes_: Labels (C,), sorted.
        encoder_: The fitted `TopicEncoder`, its topics in the order of `classes_`; `encoder_.save_pretrained` writes a
            folder that plain transformers loads.
        class_count_: Rows (C,) trained on.
        implied_prior_: The prior (C,) that the loss taught the model.
        loss_link_: Undoes what the loss distorts, where it is not proper.
        calibration_: The fitted `Calibration` under the training prior; its `report` says whether it helped.
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
        loss: str = "cross_entropy",
        weights: Any = "auto",
        sampling_ratio: float | None = None,
        validation_share: float = 0.15,
        calibration: str | None = None,
        target_prior: Any = "uniform",
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
        self.weights = weights
        self.sampling_ratio = sampling_ratio
        self.validation_share = validation_share
        self.calibration = calibration
        self.target_prior = target_prior
        self.trainer = trainer
        self.work_folder = work_folder
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> "TopicClassifier":  # noqa: N803
        """Fit on texts X (n,) and labels y (n,).

        Raises:
            ValueError: If X are no texts, y are no class labels or of one class, or a parameter does not fit.
        """
        texts = as_texts(X)
        self.classes_, indices = as_classes(y, len(texts))
        names = topic_names(self.classes_)
        labels = [names[index] for index in indices]
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        settings = self._settings(names)
        probed = settings.recipe_in_force != "phases"
        rest, held_out = (list(range(len(texts))), []) if probed else self._split(texts, labels, seed)
        train, validation = ([Record(texts[i], str(i), labels[i]) for i in rows] for rows in (rest, held_out))
        self.class_count_ = np.bincount(indices[rest], minlength=len(names))
        topics = Topics(tuple(names), tuple(self.class_count_.tolist()))
        folder = nullcontext(self.work_folder) if self.work_folder else tempfile.TemporaryDirectory()
        with one_fit_at_a_time(), folder as place, _quiet(), torch.random.fork_rng():
            measured = validation if probed else validation or train
            fitted = fit_topic_encoder(train, measured, None, topics, settings, str(place), seed)
        self.encoder_ = fitted.encoder
        self.implied_prior_, self.loss_link_ = np.array(fitted.implied), fitted.link
        self.calibration_ = Calibration()
        if fitted.held_out is not None and (validation or probed):
            kind: Any = self.calibration or ("none" if probed else "bias_corrected_temperature")
            held = fitted.held_out
            self.calibration_ = self._decider().fitted(held.logits, held.labels, kind).calibration
        return self

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """The most probable label (n,) under the target prior."""
        chosen = self._log_probabilities(X).argmax(axis=1)
        return self.classes_[chosen]

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

    def _split(self, texts: list[str], labels: list[str], seed: int) -> tuple[list[int], list[int]]:
        """Rows to train on and rows held out, none of which repeats a text that is trained on."""
        if not 0 <= self.validation_share < 1:
            raise UserError(f"validation_share is {self.validation_share}; give at least 0 and less than 1")
        if not self.validation_share:
            return list(range(len(texts))), []
        rest, held_out = stratified_split(labels, self.validation_share, seed)
        trained = {texts[row] for row in rest}
        fresh = [row for row in held_out if texts[row] not in trained]
        return sorted({*range(len(texts))} - {*fresh}), fresh

    def _settings(self, names: list[str]) -> EncoderSettings:
        weights = self.weights
        if isinstance(weights, Mapping):
            weights = dict(zip(names, self._by_class(weights, 1.0, "weights"), strict=True))
        return EncoderSettings(
            base=self.base,
            recipe=self.recipe,
            scratch=self.scratch or EncoderSettings().scratch,
            max_tokens=self.max_tokens,
            tokens_per_batch=self.tokens_per_batch,
            clean=PhaseSettings(epochs=self.epochs, learning_rate=self.learning_rate),
            loss=LossSettings(self.loss, weights=weights),  # pyright: ignore[reportArgumentType]
            sampling_ratio=self.sampling_ratio,
            trainer={"devices": 1, **(self.trainer or {})},
        )

    def _log_probabilities(self, X: Any) -> np.ndarray:  # noqa: N803
        """Float64 (n, C) under the target prior."""
        check_is_fitted(self)
        decider = self._decider().aimed_at(self._target())
        return decider.log_probabilities(self._logits(as_texts(X))).double().numpy()

    def _logits(self, texts: list[str]) -> torch.Tensor:
        return _logits(self.encoder_, texts, (self.trainer or {}).get("accelerator", "auto"))

    def _decider(self) -> Decider:
        topics = Topics(self.encoder_.topics, tuple(self.class_count_.tolist()))
        return Decider(topics, tuple(self.implied_prior_.tolist()), self.calibration_, topics.prior, self.loss_link_)

    def _target(self) -> TargetPrior:
        """`target_prior` by topic name."""
        if isinstance(self.target_prior, Mapping):
            return dict(zip(self.encoder_.topics, self._by_class(self.target_prior, 0.0, "target_prior"), strict=True))
        if self.target_prior not in ("uniform", "train"):
            raise UserError(f"target_prior is {self.target_prior!r}; give uniform, train, or shares by label")
        return self.target_prior

    def _by_class(self, values: Mapping[Any, float], default: float, parameter: str) -> list[float]:
        classes = self.classes_.tolist()
        if unknown := [label for label in values if label not in classes]:
            raise UserError(f"{parameter} names {unknown[0]!r}, which is not among the labels {classes[:10]}")
        return [float(values.get(label, default)) for label in classes]


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
