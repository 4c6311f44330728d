"""Estimates of the prior of unlabelled rows (label shift).

Knows probabilities and priors as tensors; knows nothing of models or files. Assumes that P(text | topic) is the same in
the unlabelled rows as in training, and only P(topic) moved. Nothing here can detect texts of another kind. `em_prior`
and `bbse_prior` raise a `UserError` that says why if the rows do not determine the estimate. abstention (last released
in 2020) and QuaPy have such estimates, over scikit-learn and without refusals; this room needs only torch.
"""

import math

import torch
from torch import Tensor

from ..common import UserError
from .calibration import checked_logits, checked_probabilities

MAX_ITERATIONS = 2000
PSEUDO_ROWS = 20.0  # for each topic; they pull an estimate toward its centre
_SHRUNK_ITERATIONS = 200
MAX_ERROR = 0.1  # an estimate is refused if the standard error of a share is larger


def em_prior(
    probabilities: Tensor, model_prior: Tensor, tolerance: float = 1e-6, max_error: float | None = MAX_ERROR
) -> Tensor:
    """The prior (C,) of unlabelled rows by expectation maximisation: Saerens et al. 2002.

    q_j <- mean over rows of q_j r_j(x) / sum_i q_i r_i(x), with r_j(x) = p(j|x) / model_prior_j. It maximises the
    likelihood, which is concave (Alexandari et al. 2020). Calibrate the probabilities first, preferably with a
    bias-corrected temperature.

    Args:
        probabilities: Probabilities (n, C) of the unlabelled rows, under the model's prior.
        model_prior: Prior (C,) of these probabilities, see `prior_from_counts` and `prior_from_predictions`.
        tolerance: Distance from the maximum, in nats of mean log-likelihood per row, at which to stop.
        max_error: Largest standard error of a share. A larger one, from too few rows or from topics that the model
            cannot tell apart, raises a `UserError`; None refuses nothing.
    """
    prior = em_priors(probabilities, model_prior, each_once(probabilities), tolerance)[:, 0]
    if max_error is not None:
        errors = em_standard_error(probabilities, model_prior, prior)
        if not errors.max().item() <= max_error:
            worst = int(errors.argmax())
            raise UserError(
                f"the prior of these {len(probabilities)} rows cannot be estimated: the standard error of the share of "
                f"topic {worst} is {errors[worst].item():.2g}, above {max_error:g}; give more rows or a target prior"
            )
    return prior


def em_priors(probabilities: Tensor, model_prior: Tensor, times: Tensor, tolerance: float = 1e-6) -> Tensor:
    """`em_prior` of B resamples at once (C, B), refusing nothing; `times` (n, B) is how often each row is in each."""
    ratios, times = _ratios(probabilities, model_prior), times.double()
    start = model_prior.detach().cpu().double() / model_prior.sum().item()
    priors, rows = start[:, None].repeat(1, times.shape[1]), times.sum(0)
    for _ in range(MAX_ITERATIONS):
        # 0 where a row speaks for one topic alone, and the resample has no such row: 0 / 0 would spread to all shares.
        evidence = (ratios @ priors).clamp(min=torch.finfo(torch.float64).tiny)
        growth = ratios.T @ (times / evidence) / rows
        # The objective is concave and `growth` its gradient: the maximum is at most this much higher.
        if growth.max().item() - 1 <= tolerance:
            break
        priors = priors * growth
    return priors / priors.sum(0)


def shrunk_em_prior(logits: Tensor, center: Tensor, weight: float | None = None, tolerance: float = 1e-7) -> Tensor:
    """The prior (C,) of unlabelled rows, pulled toward a centre by pseudo-rows: the mode under a Dirichlet prior.

    q <- (sum_i softmax(g_i + log q) + m c) / (n + m): expectation maximisation (Saerens et al. 2002) with m pseudo-rows
    of the shares c. Without rows the result is c, with many rows it is the plain estimate, and no topic's share is ever
    0.

    Args:
        logits: Logits g (n, C) of the rows, from a model that favours no topic.
        center: Centre c (C,).
        weight: Number of pseudo-rows m; twenty for each topic unless given.
        tolerance: Largest change of a share in a step at which to stop.
    """
    return shrunk_em_priors(logits, center, each_once(logits), weight, tolerance)[:, 0]


def shrunk_em_priors(
    logits: Tensor, center: Tensor, times: Tensor, weight: float | None = None, tolerance: float = 1e-7
) -> Tensor:
    """`shrunk_em_prior` of B resamples at once (C, B); `times` (n, B) is how often each row is in each."""
    rows, times, center = checked_logits(logits).cpu().double(), times.double(), center.detach().cpu().double()[:, None]
    center = center / center.sum()
    pseudo = PSEUDO_ROWS * rows.shape[1] if weight is None else weight
    priors, ratios = center.repeat(1, times.shape[1]), (rows - rows.amax(-1, keepdim=True)).exp()
    for _ in range(_SHRUNK_ITERATIONS):
        evidence = (ratios @ priors).clamp(min=torch.finfo(torch.float64).tiny)
        summed = priors * (ratios.T @ (times / evidence))
        found = (summed + pseudo * center) / (times.sum(0) + pseudo)
        moved = (found - priors).abs().max().item()
        priors = found
        if moved < tolerance:
            break
    return priors


def em_standard_error(probabilities: Tensor, model_prior: Tensor, prior: Tensor) -> Tensor:
    """Standard error (C,) of each share of an EM estimate; infinite if the rows say nothing about the share.

    The square roots of the diagonal of the inverse observed information of the mixture's shares, within the simplex:
    information_ij = sum over rows of r_i r_j / (sum_k prior_k r_k)^2. Where a share is at its bound of 0, the
    likelihood falls as the share grows, at the rate n (1 - g) with g the mean of r_j / sum_k prior_k r_k. That is about
    an exponential distribution, whose standard deviation 1 / (n (1 - g)) is used. (Otherwise two topics that no row
    supports would seem exchangeable, and both unknown.)
    """
    ratios, shares = _ratios(probabilities, model_prior), prior.detach().cpu().double()
    scores = ratios / (ratios * shares).sum(-1, keepdim=True)
    rows, topics = scores.shape
    slope = rows * (1 - scores.mean(0))
    at_bound = (rows * shares < 0.5) & (slope > 1e-3 * rows)
    # An orthonormal basis of the directions in which shares can move: changes that sum to zero.
    basis = torch.linalg.qr(torch.eye(topics).double() - 1 / topics)[0][:, : topics - 1]
    information = basis.T @ (scores.T @ scores + torch.diag(slope**2 * at_bound)) @ basis
    values, vectors = torch.linalg.eigh(information)
    parts = (basis @ vectors) ** 2
    blind = values <= 1e-12 * information.trace()
    known = (parts[:, ~blind] / values[~blind]).sum(-1).sqrt()
    return known.masked_fill((parts[:, blind] > 1e-9).any(-1), math.inf)


def bbse_prior(
    held_out_probabilities: Tensor,
    held_out_targets: Tensor,
    probabilities: Tensor,
    max_condition: float = 100.0,
) -> Tensor:
    """The prior (C,) of unlabelled rows by black-box shift estimation: Lipton et al. 2018.

    Solves A q = mu, where A_ij is the share of held-out rows of topic j decided as i, and mu_i the share of unlabelled
    rows decided as i. Negative shares become 0. (The paper solves the equivalent C w = mu with the joint confusion C_ij
    = A_ij p_j and w = q / p. Unlike that of C, the condition number of A does not grow merely because a topic is rare.)

    Args:
        held_out_probabilities: Probabilities (m, C) of labelled rows that the model was not trained on.
        held_out_targets: Topics (m,) of these rows; every topic must occur.
        probabilities: Probabilities (n, C) of the unlabelled rows.
        max_condition: Largest condition number of A, the factor by which errors of mu grow; a larger one raises a
            `UserError`.
    """
    topics = held_out_probabilities.shape[-1]
    labels = held_out_targets.detach().cpu().long()
    rows = torch.bincount(labels, minlength=topics)
    if len(probabilities) == 0 or (rows == 0).any():
        absent = (rows == 0).nonzero().flatten().tolist()
        raise UserError(
            f"black-box shift estimation needs unlabelled rows ({len(probabilities)} given) and held-out rows of "
            f"every topic (none of topics {absent[:5]}); use EM or a given prior"
        )
    decided = checked_probabilities(held_out_probabilities).argmax(-1)
    joint = torch.bincount(decided * topics + labels, minlength=topics * topics).view(topics, topics).double()
    rates = joint / rows
    condition = torch.linalg.cond(rates).item()
    if not condition <= max_condition:
        worst = int(rates.diagonal().argmin())
        raise UserError(
            f"black-box shift estimation refused: the condition number of the confusion matrix is {condition:.3g}, "
            f"above {max_condition:g} (topic {worst} has a recall of {rates[worst, worst].item():.2g}); "
            "use EM or a given prior"
        )
    observed = torch.bincount(checked_probabilities(probabilities).argmax(-1), minlength=topics).double()
    prior = torch.linalg.solve(rates, observed / observed.sum()).clamp(min=0)
    return prior / prior.sum()


def each_once(rows: Tensor) -> Tensor:
    """A single sample (n, 1) that has each row once."""
    return torch.ones(len(rows), 1, dtype=torch.float64)


def _ratios(probabilities: Tensor, model_prior: Tensor) -> Tensor:
    """p(j|x) / model_prior_j (n, C), up to a factor for each row, on the CPU in float64."""
    rows, prior = probabilities.detach().cpu().double(), model_prior.detach().cpu().double()
    if rows.ndim != 2 or prior.shape != rows.shape[1:] or len(rows) == 0:
        raise UserError(f"probabilities {tuple(rows.shape)} do not fit a prior {tuple(prior.shape)}")
    if not (rows.isfinite().all() and rows.min() >= 0 and (rows.sum(-1) > 0).all() and prior.min() > 0):
        raise UserError("probabilities must be numbers of at least 0, and the model's prior over 0 everywhere")
    ratios = rows / prior
    return ratios / ratios.amax(-1, keepdim=True)
