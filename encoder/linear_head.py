"""A linear head on fixed features, fitted by L-BFGS. Knows features and labels; knows no model and no text.

scikit-learn's logistic regression has neither soft labels (for noisy rows) nor a start from the last fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

ITERATIONS = 300
_TOLERANCE = 1e-7  # relative change of the mean loss between two steps
CACHED = 1 << 18  # logits that are worked on at once, so that they stay in a processor's cache
_FEWEST = 0.5  # rows counted for a topic without rows


@dataclass(frozen=True)
class LabelledFeatures:
    """Rows to fit on.

    Attributes:
        features: Features (n, d), float32.
        labels: Topic indices (n,), or shares of the topics (n, C).
        weight: Weight of the rows: one number, or one for each row (n,).
    """

    features: Tensor
    labels: Tensor
    weight: float | Tensor = 1.0

    @property
    def weights(self) -> Tensor:
        """The weight of each row (n,), float64."""
        return torch.as_tensor(self.weight).double().expand(len(self.features))

    def counts(self, topics: int) -> Tensor:
        """Weighted rows of each topic (C,), float64."""
        if self.labels.ndim == 2:
            return (self.weights[:, None] * self.labels.double()).sum(0)
        return torch.bincount(self.labels, self.weights, minlength=topics)


@dataclass(frozen=True)
class LinearHead:
    """Logits g = x W^T + b that favour no topic: softmax(g + log p) is the posterior under the prior p.

    Attributes:
        weight: Weights W (C, d).
        bias: Bias b (C,).
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Logits (n, C) of features (n, d)."""
        return features @ self.weight.T + self.bias

    def scaled(self, scale: float) -> "LinearHead":
        """A head whose logits are `scale` times as large."""
        return LinearHead(self.weight * scale, self.bias * scale)

    def __add__(self, other: "LinearHead") -> "LinearHead":
        """A head whose logits are the sum of both."""
        return LinearHead(self.weight + other.weight, self.bias + other.bias)


def fit_linear_head(
    rows: Sequence[LabelledFeatures],
    topics: int,
    strength: float,
    start: LinearHead | None = None,
    iterations: int = ITERATIONS,
) -> LinearHead:
    """Multinomial logistic regression with a free bias, from which the counts are divided out.

    Minimises sum_i w_i CE(W x_i + b', y_i) + |W|^2 / (2 strength) over features scaled to mean 0 and a mean square
    length of 1, so that a strength means the same for any base. The bias of the head is b = b' - log n, with n the
    weighted counts. With a free bias, this is the minimiser of balanced softmax (Ren et al. 2020) at the same strength.

    Args:
        rows: Rows to fit on, in one or several blocks.
        topics: Number of topics C.
        strength: Inverse regularisation, scikit-learn's C: larger regularises less.
        start: Head to start from, for a grid of strengths.
        iterations: Most iterations of L-BFGS.
    """
    mean, spread = _location(rows)
    width = rows[0].features.shape[1]
    log_counts = sum((block.counts(topics) for block in rows), torch.zeros(topics).double()).clamp(min=_FEWEST).log()
    log_counts = (log_counts - log_counts.mean()).numpy()
    blocks = [_Block.of(block, mean, spread) for block in rows]
    total = sum(float(block.weights.sum()) for block in blocks)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = flat[: topics * width].reshape(topics, width).astype(np.float32), flat[topics * width :]
        value = float((weight.astype(np.float64) ** 2).sum()) / (2 * strength)
        weight_slope, bias_slope = weight / strength, np.zeros(topics)
        for block in blocks:
            own, own_weight_slope, own_bias_slope = block.loss(weight, bias.astype(np.float32))
            value += own
            weight_slope += own_weight_slope
            bias_slope += own_bias_slope
        return value / total, np.concatenate([weight_slope.ravel(), bias_slope]).astype(np.float64) / total

    begin = np.zeros(topics * width + topics)
    if start is not None:
        weight, bias = start.weight.double(), start.bias.double() + start.weight.double() @ mean.double()
        begin = np.concatenate([(weight * spread).numpy().ravel(), bias.numpy() + log_counts])
    options = {"maxiter": iterations, "gtol": 1e-5, "ftol": _TOLERANCE}
    found = minimize(loss, begin, jac=True, method="L-BFGS-B", options=options).x
    weight = torch.from_numpy(found[: topics * width].reshape(topics, width)) / spread
    bias = torch.from_numpy(found[topics * width :] - log_counts) - weight @ mean.double()
    return LinearHead(weight.float(), (bias - bias.mean()).float())


def _location(rows: Sequence[LabelledFeatures]) -> tuple[Tensor, float]:
    """The rows' mean (d,) and the root mean square of their distance from it, both weighted."""
    features = torch.cat([block.features for block in rows])
    weights = torch.cat([block.weights for block in rows])
    shares = (weights / weights.sum()).float()
    mean = shares @ features
    spread = (shares @ (features - mean).square().sum(-1)).sqrt().item()
    return mean, max(spread, 1e-12)


@dataclass(frozen=True)
class _Block:
    """Rows as NumPy arrays, with their part of the loss."""

    features: np.ndarray
    labels: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, rows: LabelledFeatures, mean: Tensor, spread: float) -> "_Block":
        labels = rows.labels.float() if rows.labels.ndim == 2 else rows.labels
        return cls(((rows.features - mean) / spread).numpy(), labels.numpy(), rows.weights.float().numpy())

    def loss(self, weight: np.ndarray, bias: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """The weighted sum of the rows' cross-entropies and its gradients in weight (C, d) and bias (C,)."""
        value, weight_slope, bias_slope = 0.0, np.zeros_like(weight), np.zeros(len(bias))
        rows = max(1, CACHED // len(bias))
        for start in range(0, len(self.features), rows):
            part = slice(start, start + rows)
            features = self.features[part]
            own, slope = _cross_entropy(features @ weight.T + bias, self.labels[part], self.weights[part])
            value += own
            weight_slope += slope.T @ features
            bias_slope += slope.sum(0)
        return value, weight_slope, bias_slope


def _cross_entropy(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """The weighted sum of cross-entropies of logits (n, C) and its gradient in them, which takes their place."""
    logits -= logits.max(1, keepdims=True)
    places = np.arange(len(labels)), labels
    own = (logits * labels).sum(1) if labels.ndim == 2 else logits[places]
    np.exp(logits, out=logits)
    sums = logits.sum(1)
    logits *= (weights / sums)[:, None]
    if labels.ndim == 2:
        logits -= labels * weights[:, None]
    else:
        logits[places] -= weights
    return float((weights * (np.log(sums) - own)).sum(dtype=np.float64)), logits
