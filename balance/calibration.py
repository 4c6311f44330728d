"""Calibration after training, and the correction of a copied prior.

Knows logits (or log-probabilities) and topic indices; knows nothing of models or files. scikit-learn has the
temperature but neither of the richer maps, and this room needs only torch.

Two steps, in this order: `fit_calibration` makes the probabilities honest under the prior of the calibration rows;
`prior_correct` then moves them from that prior, p_model(y), to the target prior.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from ..common import UserError
from .settings import CalibrationKind
from .weights import Counts, as_counts

PENALTY_WIDTH = 2.0  # nats: standard deviation of the normal prior on log temperatures and biases
FOLDS = 5
NOISE = 1.64  # standard errors by which a map must win
FLOOR = -1000.0  # nats: the log-probability that an exact zero gets


@dataclass(frozen=True)
class CalibrationReport:
    """How a calibration did on held-out rows.

    Attributes:
        kind: Map in force, or the requested map if none is.
        kept: Whether a map is in force, because the held-out NLL improved by more than its noise.
        nll_before: Mean NLL in nats without the map.
        nll_after: Mean NLL with the map fitted on the other folds; equal to `nll_before` if there is only one row.
        rows: Number of calibration rows.
        folds: Number of folds; each row was held out of one fit.
        asked: Requested map, if a single temperature is in force instead.
    """

    kind: CalibrationKind
    kept: bool
    nll_before: float
    nll_after: float
    rows: int
    folds: int
    asked: CalibrationKind | None = None

    def __str__(self) -> str:
        verdict = "kept" if self.kept else "not kept"
        name = self.kind.replace("_", " ")
        name += f" (as good as {self.asked.replace('_', ' ')})" if self.asked else ""
        change = f"held-out NLL {self.nll_before:.4f} -> {self.nll_after:.4f}"
        return f"{name}: {change} ({self.folds} folds of {self.rows} rows), {verdict}"


@dataclass(frozen=True)
class Calibration:
    """A fitted map of logits. Called with logits (n, C), it gives log-probabilities (n, C), float32.

    log p'(c) = log p(c) / T_c + b_c, normalised over the topics, with p = softmax(logits). Logits and log-probabilities
    of the same model thus give the same result.

    Attributes:
        log_temperature: log T, one number for all topics or one for each topic.
        bias: b in nats, one number for each topic, or empty.
        report: How the map did on held-out rows. A map that was not kept changes nothing.
    """

    log_temperature: tuple[float, ...] = (0.0,)
    bias: tuple[float, ...] = ()
    report: CalibrationReport | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        """Calibrated log-probabilities (n, C)."""
        log_temperature = torch.tensor(self.log_temperature, device=logits.device)
        bias = torch.tensor(self.bias, device=logits.device) if self.bias else None
        fitted = {len(self.bias), len(self.log_temperature)} - {0, 1}
        if fitted and logits.shape[-1] not in fitted:
            raise ValueError(f"logits of {logits.shape[-1]} topics for a calibration of {max(fitted)}")
        return _apply(_log_probabilities(logits, torch.float32), log_temperature, bias)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Calibration":
        """The inverse of `to_dict`."""
        report = stored["report"]
        return cls(
            tuple(stored["log_temperature"]),
            tuple(stored["bias"]),
            None if report is None else CalibrationReport(**report),
        )


def fit_calibration(
    logits: Tensor,
    labels: Tensor,
    kind: CalibrationKind = "bias_corrected_temperature",
    weights: Tensor | None = None,
    seed: int = 0,
) -> Calibration:
    """Fit a map on held-out logits (n, C) and labels (n,); keep it if the held-out NLL improves beyond its noise.

    "temperature": one T (Guo et al. 2017, eq. 9). "per_class_temperature": T_c. "bias_corrected_temperature": one T and
    b_c (Alexandari et al. 2020), the map to use before EM. "vector_scaling": T_c and b_c (Guo et al. 2017, section 4.2,
    on log-probabilities). Fitted by L-BFGS in log T, under a weak normal prior (standard deviation 2 nats): without it,
    topics of a row or two and separable rows would have no finite optimum.

    Held-out means cross-validation within these rows: five folds, each topic spread evenly over them. Every row is
    scored by the map fitted on the other folds. One temperature is tried first, then the map asked for. Each must beat
    the best so far by 1.64 standard errors of the mean difference over rows, so that a model that needs no map gets one
    in about one case of twenty. The map that is kept is fitted on all rows.

    Args:
        logits: Logits of rows that the model was not trained on.
        labels: Topics of these rows.
        kind: Kind of map; "none" is the identity.
        weights: Weights of the rows (n,), positive or 0; None weighs all rows alike. The NLL that decides is weighted
            too.
        seed: Random seed of the folds.

    Raises:
        UserError: If there are no rows, logits or weights are not numbers, or the kind is not known.
    """
    check_calibration_kind(kind)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or len(labels) == 0:
        raise UserError(f"calibration needs rows: logits {tuple(logits.shape)}, targets {tuple(labels.shape)}")
    log_p, labels = _log_probabilities(logits.cpu(), torch.float64), labels.detach().cpu().long()
    weights = checked_weights(weights, len(labels))
    weights = weights / weights.sum()
    before, folds = _row_nll(log_p, labels), min(FOLDS, len(labels))
    best, after, tried = "none", before, before
    if folds > 1 and kind != "none":
        fold = stratified_folds(labels, folds, seed)
        for map_ in dict.fromkeys(("temperature", kind)):
            tried = _held_out_nll(log_p, labels, weights, map_, fold)
            if _improves(after, tried, weights):
                best, after = map_, tried
    kept = best != "none"
    report = CalibrationReport(
        best if kept else kind,
        kept,
        (weights * before).sum().item(),
        (weights * (after if kept else tried)).sum().item(),
        len(labels),
        folds,
        kind if kept and best != kind else None,
    )
    if not kept:
        return Calibration(report=report)
    log_temperature, bias = _fit(log_p, labels, weights, best)
    return Calibration(tuple(log_temperature.tolist()), tuple(bias.tolist()) if bias is not None else (), report)


def check_calibration_kind(kind: Any) -> None:
    """Raise a `UserError` unless there is such a kind of map."""
    if kind not in get_args(CalibrationKind):
        raise UserError(f"calibration is {kind!r}; give one of {', '.join(get_args(CalibrationKind))}")


def cross_fitted(calibration: Calibration, logits: Tensor, labels: Tensor, weights: Tensor, seed: int = 0) -> Tensor:
    """Log-probabilities (n, C) of calibration rows, each by a map of the same kind fitted on the other folds."""
    report = calibration.report
    if report is None or not report.kept:
        return calibration(logits)
    fold = stratified_folds(labels.detach().cpu().long(), report.folds, seed)
    found = torch.empty(logits.shape)
    for number in fold.unique():
        rest, held_out = fold != number, fold == number
        found[held_out] = refit_calibration(logits[rest], labels[rest], report.kind, weights[rest])(
            logits[held_out]
        ).cpu()
    return found


def refit_calibration(
    logits: Tensor, labels: Tensor, kind: CalibrationKind, weights: Tensor, start: Calibration | None = None
) -> Calibration:
    """A map fitted on all rows and kept whether it helps or not. Arguments as in `fit_calibration`.

    A fit that starts from a map of the same kind ends sooner and is less exact. That is enough for a bootstrap, which
    asks only how maps differ.
    """
    log_p, labels = _log_probabilities(logits.cpu(), torch.float64), labels.detach().cpu().long()
    log_temperature, bias = _fit(log_p, labels, weights.double() / weights.sum(), kind, start)
    return Calibration(tuple(log_temperature.tolist()), tuple(bias.tolist()) if bias is not None else ())


def training_weights(labels: Tensor, train_counts: Counts, weights: Tensor | None = None) -> Tensor:
    """Weights (n,) that give rows with labels (n,) the training shares; within a topic in proportion to `weights`.

    If some topics have no rows, the others keep their proportions.
    """
    return share_weights(labels, as_counts(train_counts), weights)


def share_weights(labels: Tensor, shares: Tensor, weights: Tensor | None = None) -> Tensor:
    """Like `training_weights`, for any shares (C,); they need not sum to 1."""
    labels = labels.detach().cpu().long()
    own = torch.ones(len(labels), dtype=torch.float64) if weights is None else weights.detach().cpu().double()
    if own.shape != labels.shape or (len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(shares)):
        raise UserError(f"{len(own)} weights and targets of {len(labels)} rows do not fit {len(shares)} topics")
    held_out = torch.zeros_like(shares).index_add_(0, labels, own)
    return own * (shares / held_out.clamp(min=torch.finfo(torch.float64).tiny))[labels]


def checked_probabilities(probabilities: Tensor) -> Tensor:
    """The probabilities (n, C), float64 on the CPU.

    Raises:
        UserError: If one is not a number, or outside [0, 1].
    """
    rows = probabilities.detach().cpu().double()
    bad = ~((rows >= 0) & (rows <= 1 + 1e-6))
    if bad.any():
        row = int(bad.nonzero()[0, 0])
        raise UserError(f"row {row} does not have probabilities from 0 to 1: {rows[row].tolist()[:5]}")
    return rows


def checked_logits(logits: Tensor) -> Tensor:
    """The logits or log-probabilities (n, C), detached. -inf, from an exact zero, is allowed.

    Raises:
        UserError: If a row has nan or +inf, or is -inf throughout.
    """
    logits = logits.detach()
    bad = (logits.isnan() | logits.isposinf()).any(-1) | logits.isneginf().all(-1)
    if bad.any():
        row = int(bad.nonzero()[0])
        raise UserError(
            f"the logits of row {row} are not finite numbers: {logits[row].tolist()[:5]}; check whether the training "
            "was stable"
        )
    return logits


def checked_weights(weights: Tensor | None, rows: int) -> Tensor:
    """The weights (n,) of `rows` rows, float64 on the CPU; ones unless given.

    Raises:
        UserError: If there is not one for each row, one is not a number of at least 0, or all are 0.
    """
    if weights is None:
        return torch.ones(rows, dtype=torch.float64)
    if weights.shape != (rows,):
        raise UserError(f"{tuple(weights.shape)} weights for {rows} rows")
    values = weights.detach().cpu().double()
    if not (values.isfinite().all() and (values >= 0).all() and values.sum() > 0):
        raise UserError("weights of rows must be numbers of at least 0, not all of them 0")
    return values


def uniform_prior(topics: int) -> Tensor:
    """The prior (C,) that favours no topic."""
    return torch.full((topics,), 1 / topics, dtype=torch.float64)


def prior_from_counts(counts: Counts) -> Tensor:
    """The training prior (C,): the shares of the counts. A model trained without re-weighting has this prior."""
    return as_counts(counts) / as_counts(counts).sum()


def mean_posterior(probabilities: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean (C,) of probabilities (n, C), with row weights (n,).

    It is the model's prior only if the rows come from the population that the model was fitted to: sum_x P(x) P(y | x)
    = P(y). After re-weighting, held-out rows do not; use `prior_from_predictions` there.
    """
    rows = probabilities.detach().double()
    weights = torch.ones(len(rows), dtype=torch.float64) if weights is None else weights.double()
    mean = (rows * weights.to(rows.device)[:, None]).sum(0) / weights.sum()
    return mean.clamp(min=torch.finfo(torch.float32).tiny)


def prior_correct(logits: Tensor, model_prior: Tensor, target_prior: Tensor) -> Tensor:
    """Log-probabilities (n, C) under another prior: p(y|x) target(y) / model(y), Saerens et al. 2002.

    With `prior_from_counts` and a uniform target it is post-hoc logit adjustment (Menon et al. 2021, eq. 9, tau 1).

    Args:
        logits: Logits or log-probabilities (n, C).
        model_prior: Prior (C,) of the model, positive everywhere: from `prior_from_loss`, `prior_from_predictions` or
            `prior_from_counts`.
        target_prior: Prior (C,) of the result; a topic with share 0 gets probability 0.
    """
    if logits.shape[-1] != len(model_prior):
        raise ValueError(f"logits of {logits.shape[-1]} topics for a prior of {len(model_prior)}")
    return shift_logits(logits, prior_shift(model_prior, target_prior))


def prior_shift(model_prior: Tensor, target_prior: Tensor) -> Tensor:
    """What `prior_correct` adds to log-probabilities: log target - log model, float32 (C,) on the CPU."""
    model, target = (_as_prior(prior, len(model_prior)) for prior in (model_prior, target_prior))
    if (model <= 0).any():
        raise UserError(
            "the model's prior has a topic with share 0, which cannot be divided by; give every topic a share above 0"
        )
    return (target / model).log().float()


def shift_logits(logits: Tensor, shift: Tensor) -> Tensor:
    """Log-probabilities (n, C) after a shift (C,) of `prior_shift` is added to those of logits (n, C)."""
    # With the floor there is a most probable topic even where every allowed topic had a probability of exactly 0.
    return (_log_probabilities(logits, torch.float32) + shift.to(logits.device)).log_softmax(-1)


def _as_prior(prior: Tensor, topics: int) -> Tensor:
    values = torch.as_tensor(prior).detach().to("cpu", torch.float64)
    if values.shape != (topics,):
        raise ValueError(f"a prior of shape {tuple(values.shape)} for {topics} topics")
    if not (values.isfinite().all() and values.min() >= 0 and abs(values.sum().item() - 1) < 1e-3):
        raise UserError("a prior must be shares that sum to 1")
    return values


def _log_probabilities(logits: Tensor, dtype: torch.dtype) -> Tensor:
    return checked_logits(logits).to(dtype).log_softmax(-1).clamp(min=FLOOR)


def _apply(log_p: Tensor, log_temperature: Tensor, bias: Tensor | None) -> Tensor:
    scaled = log_p * torch.exp(-log_temperature)
    return (scaled if bias is None else scaled + bias).log_softmax(-1)


def _row_nll(log_p: Tensor, labels: Tensor) -> Tensor:
    return -log_p.gather(-1, labels[:, None]).squeeze(-1)


def _improves(before: Tensor, after: Tensor, weights: Tensor) -> bool:
    """Whether row NLLs (n,) fall by more than the noise of their weighted mean (n,)."""
    gain = before - after
    mean = (weights * gain).sum()
    error = ((weights * (gain - mean)) ** 2).sum().sqrt()
    return bool(mean > NOISE * error)


def _fit(
    log_p: Tensor, labels: Tensor, weights: Tensor, kind: CalibrationKind, start: Calibration | None = None
) -> tuple[Tensor, Tensor | None]:
    topics = log_p.shape[-1]
    temperatures = topics if kind in ("per_class_temperature", "vector_scaling") else 1
    first = torch.zeros(temperatures), torch.zeros(topics)
    if start is not None:
        first = torch.tensor(start.log_temperature), torch.tensor(start.bias)
    log_temperature = first[0].double().requires_grad_()
    parameters, bias = [log_temperature], None
    if kind in ("bias_corrected_temperature", "vector_scaling"):
        bias = first[1].double().requires_grad_()
        parameters.append(bias)
    grad, change = (1e-7, 1e-10) if start is None else (1e-4, 1e-6)
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=200, tolerance_grad=grad, tolerance_change=change, line_search_fn="strong_wolfe"
    )
    weights = weights / weights.sum()
    # Effective rows (Kish): the penalty weighs as much as one row, however the rows are weighted.
    strength = (weights**2).sum() / (2 * PENALTY_WIDTH**2)

    def closure() -> Tensor:
        optimizer.zero_grad()
        penalty = strength * sum((values**2).sum() for values in parameters)
        loss = (weights * _row_nll(_apply(log_p, log_temperature, bias), labels)).sum() + penalty
        loss.backward()
        return loss

    optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    return log_temperature.detach(), None if bias is None else bias.detach()


def stratified_folds(labels: Tensor, folds: int, seed: int) -> Tensor:
    """The fold (n,) of each row; the rows of a topic are spread over the folds as evenly as possible."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    by_topic = shuffled[labels[shuffled].argsort(stable=True)]
    fold = torch.empty_like(labels)
    fold[by_topic] = torch.arange(len(labels)) % folds
    return fold


def _held_out_nll(log_p: Tensor, labels: Tensor, weights: Tensor, kind: CalibrationKind, fold: Tensor) -> Tensor:
    """The NLL of each row (n,) by the map fitted on the other folds; infinite if the other folds have no weight."""
    nll = torch.full_like(weights, torch.inf)
    for number in fold.unique():
        rest, held_out = fold != number, fold == number
        if weights[rest].sum() > 0:
            log_temperature, bias = _fit(log_p[rest], labels[rest], weights[rest], kind)
            nll[held_out] = _row_nll(_apply(log_p[held_out], log_temperature, bias), labels[held_out])
    return nll
