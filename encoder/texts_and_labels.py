"""Turns texts and labels of scikit-learn's users into plain strings and class indices. Knows no model."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

MOST_APART = 1e30  # ratio of two weights; shares of classes are computed in float32, which ends at 1e-38


def as_texts(X: Any) -> list[str]:  # noqa: N803
    """Plain strings of a 1-D sequence, or of a table of one column.

    Raises:
        ValueError: If X is anything else; the message says what and where.
    """
    if isinstance(X, str | bytes) or not isinstance(X, Iterable):
        raise ValueError(f"X must be a sequence of texts, got {type(X).__name__}; for one text write [text]")
    shape = getattr(X, "shape", None)
    if shape is not None and len(shape) == 2 and shape[1] == 1 and not hasattr(X, "tocsr"):
        X, shape = np.asarray(X)[:, 0], shape[:1]  # noqa: N806
    if shape is not None and len(shape) != 1:
        raise ValueError(f"X must be a 1-D sequence of texts, got the shape {tuple(shape)}; select the column of texts")
    texts = list(X)
    if not texts:
        raise ValueError("Found array with 0 sample(s): X must have at least one text")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"row {row} of X is {text!r}, a {type(text).__name__} and not a string")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"row {row} of X has half a surrogate pair (character {error.start + 1}), which no tokenizer accepts; "
                "remove it"
            ) from error
    return [str(text) for text in texts]


def as_classes(y: Any, rows: int, weights: Sequence[float] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Sorted labels (C,) and each row's index (n,) among them; refuses what scikit-learn's classifiers refuse.

    Raises:
        ValueError: If y is not one class label for each row, or rows with weight have fewer than two classes.
    """
    y = as_labels(y, rows)
    counting = np.unique(y if weights is None else y[np.array(weights) > 0])
    if len(counting) < 2:
        raise ValueError(f"y has only one class, {counting.tolist()[0]!r}; a classifier needs at least 2 classes")
    classes, indices = np.unique(y, return_inverse=True)
    return classes, indices


def as_weights(sample_weight: Any, rows: int) -> list[float]:
    """Weights (n,), scaled to a mean of 1 over the rows whose weight is not 0.

    Raises:
        ValueError: If there is not one number of at least 0 for each row, all are 0, or some are `MOST_APART` times as
            large as others.
    """
    weights = np.asarray(1.0 if sample_weight is None else sample_weight, dtype=np.float64)
    if weights.ndim == 0:
        weights = np.full(rows, weights)
    if weights.ndim != 1:
        raise ValueError("Sample weights must be 1D array or scalar")
    if weights.shape != (rows,):
        raise ValueError(f"sample_weight.shape == {weights.shape}, expected {(rows,)}!")
    assert_all_finite(weights, input_name="sample_weight")
    if (weights < 0).any():
        raise ValueError("Negative values in data passed to `sample_weight`: give weights of at least 0")
    if not weights.any():
        raise ValueError("sample_weight is zero for every row: give some rows more")
    weights = weights / weights.max()  # the sum of weights near the largest number would be infinite
    if (small := np.flatnonzero((weights > 0) & (weights < 1 / MOST_APART))).size:
        raise ValueError(
            f"sample_weight is over {MOST_APART:g} times as large in row {weights.argmax()} as in row {small[0]}; give "
            "weights that are less far apart, or 0 to leave a row out"
        )
    return (weights / weights[weights > 0].mean()).tolist()


def as_indices(y: Any, rows: int, classes: np.ndarray) -> list[int]:
    """Each row's index (n,) among known classes.

    Raises:
        ValueError: If y is not one class label for each row, or a label is not among the classes.
    """
    y = as_labels(y, rows)
    unknown = sorted(set(y.tolist()) - set(classes.tolist()), key=str)
    if unknown:
        raise ValueError(f"the calibration set has the label {unknown[0]!r}, which y lacks")
    return np.searchsorted(classes, y).tolist()


def as_labels(y: Any, rows: int) -> np.ndarray:
    """One class label for each row (n,).

    Raises:
        ValueError: If y is anything else, or a label is missing.
    """
    if y is None:
        raise ValueError("TopicClassifier requires y to be passed, but the target y is None")
    y = _without_missing(column_or_1d(y, warn=True))
    assert_all_finite(y, input_name="y")
    check_classification_targets(y)
    if len(y) != rows:
        raise ValueError(f"Found input variables with inconsistent numbers of samples: [{rows}, {len(y)}]")
    return y


def _without_missing(y: np.ndarray) -> np.ndarray:
    """The labels; numbers or truth values that arrive as objects become an array of their own type.

    Raises:
        ValueError: If a label among objects, such as pandas' nullable strings, is missing (pandas.NA, pandas.NaT): it
            can be neither compared nor sorted.
    """
    if y.dtype != object:
        return y
    missing = [row for row, label in enumerate(y) if type(label).__name__ in ("NAType", "NaTType")]
    if missing:
        raise ValueError(
            f"Input y contains missing values: {len(missing)} of {len(y)} labels are missing (the first in row "
            f"{missing[0]}); leave these rows out, as with frame.dropna()"
        )
    return np.array(y.tolist()) if all(type(label) in (int, bool) for label in y) else y


def topic_names(classes: np.ndarray) -> list[str]:
    """Topic names for labels: the labels as text, or their numbers if the texts are blank or not unique."""
    names = [str(label) for label in classes.tolist()]
    fit = len(set(names)) == len(names) and all(name.strip() for name in names)
    return names if fit else [str(index) for index in range(len(names))]
