"""The prior of unlabelled rows, estimated: label shift.

Knows probabilities and priors as tensors; knows nothing of models or files. Assumes that P(text | topic) is the
same in the unlabelled rows as in training, and only P(topic) moved; where texts are of another kind altogether
nothing here can notice. Either estimate is refused, with a `UserError` that says why, where the rows do not determine
it. abstention (last released in 2020) and QuaPy have such estimates, over scikit-learn and without refusals; this room
needs torch alone.
"""

import logging
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..common import UserError
from ..corpus import Topics
from .calibration import checked_probabilities, prior_from_counts
from .posterior import Decider

log = logging.getLogger("unskew")

MAX_ITERATIONS = 2000
PSEUDO_ROWS = 10.0  # for each topic, on which an estimate leans
_SHRUNK_ITERATIONS = 200
MOST_ROWS = 50_000  # standard errors are then under 0.01 where topics can be told apart at all
SHOWN = 3  # topics named in a log line
MAX_ERROR = 0.1  # the standard error of a share above which an estimate is refused
MAX_WIDTH = 0.4  # the same of the width of its interval
Z = 1.96
RESAMPLES = 40
MOST_RESAMPLED = 5000


def em_prior(
    probabilities: Tensor, model_prior: Tensor, tolerance: float = 1e-6, max_error: float | None = MAX_ERROR
) -> Tensor:
    """The prior (C,) of unlabelled rows by expectation maximisation: Saerens et al. 2002.

    q_j <- mean over rows of q_j r_j(x) / sum_i q_i r_i(x), with r_j(x) = p(j|x) / model_prior_j: the maximum
    likelihood estimate of a concave objective (Alexandari et al. 2020). Calibrate the probabilities first, best with
    a bias-corrected temperature.

    Args:
        probabilities: (n, C) of the unlabelled rows, under the model's prior.
        model_prior: (C,) the prior that the probabilities hold, see `prior_from_counts` and `measured_prior`.
        tolerance: stop when the mean log-likelihood of a row is within this many nats of its maximum.
        max_error: refuse the estimate if the standard error of a share is above this: too few rows, or topics that
            the model cannot tell apart. None: refuse nothing.
    """
    ratios = _ratios(probabilities, model_prior)
    prior = model_prior.detach().cpu().double() / model_prior.sum().item()
    for _ in range(MAX_ITERATIONS):
        growth = (ratios / (ratios @ prior)[:, None]).mean(0)
        # The objective is concave and `growth` its gradient: the maximum is at most this much higher.
        if growth.max().item() - 1 <= tolerance:
            break
        prior = prior * growth
    if max_error is not None:
        errors = em_standard_error(probabilities, model_prior, prior)
        if not errors.max().item() <= max_error:
            worst = int(errors.argmax())
            raise UserError(
                f"the prior of these {len(ratios)} rows cannot be estimated: the standard error of the share of "
                f"topic {worst} is {errors[worst].item():.2g}, above {max_error:g}; give more rows or a target prior"
            )
    return prior / prior.sum()


def shrunk_em_prior(logits: Tensor, center: Tensor, weight: float | None = None) -> Tensor:
    """The prior (C,) of unlabelled rows, drawn toward a centre by pseudo-rows: the mode under a Dirichlet prior.

    q <- (sum_i softmax(g_i + log q) + m c) / (n + m): expectation maximisation (Saerens et al. 2002) with m pseudo-rows
    of the shares c. Without rows it is c, with many it is the plain estimate, and no topic's share is ever 0.

    Args:
        logits: g (n, C) of the rows, by a model that favours no topic.
        center: c (C,).
        weight: m; ten for each topic unless given.
    """
    rows, center = logits.detach().cpu().double(), center.detach().cpu().double()
    center = center / center.sum()
    pseudo = PSEUDO_ROWS * rows.shape[1] if weight is None else weight
    prior = center
    for _ in range(_SHRUNK_ITERATIONS):
        summed = (rows + prior.log()).softmax(-1).sum(0) if len(rows) else torch.zeros_like(prior)
        found = (summed + pseudo * center) / (len(rows) + pseudo)
        moved = (found - prior).abs().max().item()
        prior = found
        if moved < 1e-7:
            break
    return prior


def em_standard_error(probabilities: Tensor, model_prior: Tensor, prior: Tensor) -> Tensor:
    """Standard error (C,) of each share of an EM estimate, infinite where the rows say nothing about it.

    The square roots of the diagonal of the inverse observed information of the mixture's shares, within the
    simplex: information_ij = sum over rows of r_i r_j / (sum_k prior_k r_k)^2. A share that the rows hold at its bound
    of 0 has a likelihood that falls with it at the rate n (1 - g), g the mean of r_j / sum_k prior_k r_k: about an
    exponential distribution, whose standard deviation 1 / (n (1 - g)) stands for it. (Without that, two topics which
    no row speaks for would seem exchangeable, and neither known.)
    """
    ratios, shares = _ratios(probabilities, model_prior), prior.detach().cpu().double()
    scores = ratios / (ratios * shares).sum(-1, keepdim=True)
    rows, topics = scores.shape
    slope = rows * (1 - scores.mean(0))
    at_bound = (rows * shares < 0.5) & (slope > 1e-3 * rows)
    # An orthonormal basis of the directions in which shares can move: those that sum to zero.
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

    Solves A q = mu, with A_ij the share of held-out rows of topic j decided as i, and mu_i the share of unlabelled
    rows decided as i; negative shares become 0. (The paper solves C w = mu with the joint confusion C_ij = A_ij p_j
    and w = q / p, which is the same; A's condition does not blame a topic for being rare.)

    Args:
        held_out_probabilities: (m, C) of labelled rows that the model was not trained on.
        held_out_targets: (m,) their topics; every topic must occur.
        probabilities: (n, C) of the unlabelled rows.
        max_condition: refuse if the condition number of A, by which errors of mu grow, is above this.
    """
    topics = held_out_probabilities.shape[-1]
    targets = held_out_targets.detach().cpu().long()
    rows = torch.bincount(targets, minlength=topics)
    if len(probabilities) == 0 or (rows == 0).any():
        absent = (rows == 0).nonzero().flatten().tolist()
        raise UserError(
            f"black-box shift estimation needs unlabelled rows ({len(probabilities)} given) and held-out rows of "
            f"every topic (none of topics {absent[:5]}); use EM or a given prior"
        )
    decided = checked_probabilities(held_out_probabilities).argmax(-1)
    joint = torch.bincount(decided * topics + targets, minlength=topics * topics).view(topics, topics).double()
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


def _ratios(probabilities: Tensor, model_prior: Tensor) -> Tensor:
    """p(j|x) / model_prior_j (n, C), up to a factor for each row, on the CPU in float64."""
    rows, prior = probabilities.detach().cpu().double(), model_prior.detach().cpu().double()
    if rows.ndim != 2 or prior.shape != rows.shape[1:] or len(rows) == 0:
        raise UserError(f"probabilities {tuple(rows.shape)} do not fit a prior {tuple(prior.shape)}")
    if not (rows.isfinite().all() and rows.min() >= 0 and (rows.sum(-1) > 0).all() and prior.min() > 0):
        raise UserError("probabilities must be numbers of at least 0, and the model's prior over 0 everywhere")
    ratios = rows / prior
    return ratios / ratios.amax(-1, keepdim=True)


@dataclass(frozen=True)
class ShiftEstimate:
    """An estimated prior; as a string, the lines for a log.

    Attributes:
        topics: With their training counts.
        prior: The estimated share of each topic (C,), summing to 1. Shrunk toward the training shares p, where rows are
            few: (n q + 1/2 + C p / 2) / (n + C). An estimate of none would rule a topic out, and rare topics are what
            must not vanish.
        errors: Standard errors of the shares (C,): of the rows and, where `with_classifier`, of calibration and
            classifier.
        rows: How many it was estimated from.
        with_classifier: Whether held-out rows showed how far the classifier leads the estimate astray.
    """

    topics: Topics
    prior: tuple[float, ...]
    errors: tuple[float, ...]
    rows: int
    with_classifier: bool = False

    @property
    def intervals(self) -> tuple[tuple[float, float], ...]:
        """About 95% of each share (C,), within [0, 1]."""
        pairs = zip(self.prior, self.errors, strict=True)
        return tuple((max(0.0, share - Z * error), min(1.0, share + Z * error)) for share, error in pairs)

    @property
    def shares(self) -> dict[str, float]:
        """The prior by topic, as `Decider.aimed_at` takes it."""
        return dict(zip(self.topics.names, self.prior, strict=True))

    @property
    def divergence(self) -> float:
        """KL(estimated prior || training prior) in nats: how far the rows have moved from the training set."""
        estimated, trained = torch.tensor(self.prior).double(), prior_from_counts(self.topics.counts)
        return (estimated * (estimated / trained).log()).sum().item()

    def __str__(self) -> str:
        trained = prior_from_counts(self.topics.counts).tolist()
        moved = sorted(range(len(trained)), key=lambda topic: -abs(self.prior[topic] - trained[topic]))
        changes = "; ".join(
            f"{self.topics.names[topic]} {trained[topic]:.1%} -> {self.prior[topic]:.1%} ± {self.errors[topic]:.1%}"
            for topic in moved[:SHOWN]
        )
        return (
            f"target prior estimated from {self.rows} unlabelled rows, {self.divergence:.2f} nats (KL) from the "
            f"training prior\nlargest changes of share, ± standard error{self._of()}: {changes}"
        )

    def _of(self) -> str:
        return "" if self.with_classifier else " (of the rows alone: the classifier's own errors are not in it)"


@dataclass(frozen=True)
class AdaptedPrior:
    """A target prior that leans on tempered training shares and moves to what unlabelled rows say; as a string, a line.

    Attributes:
        topics: With their training counts.
        prior: The share of each topic (C,), summing to 1.
        rows: How many unlabelled rows it was adapted to.
    """

    topics: Topics
    prior: tuple[float, ...]
    rows: int

    @property
    def shares(self) -> dict[str, float]:
        """The prior by topic, as `Decider.aimed_at` takes it."""
        return dict(zip(self.topics.names, self.prior, strict=True))

    def __str__(self) -> str:
        most = max(range(len(self.prior)), key=lambda topic: self.prior[topic])
        return (
            f"target prior adapted to {self.rows:,} unlabelled rows, most of them {self.topics.names[most]!r} "
            f"({self.prior[most]:.1%}); give --target_prior uniform, train, or shares by topic where you know better"
        )


def adapt_target(decider: Decider, logits: Tensor) -> AdaptedPrior:
    """The prior with the least regret where nothing is known of unlabelled rows, from the encoder's logits (n, C).

    `shrunk_em_prior` around the square roots of the training shares, halfway between uniform and train: a few rows
    hardly move it, many leave it behind. Unlike `estimate_target` it refuses nothing.

    Args:
        decider: Its calibration and training prior; its target prior plays no part.
        logits: Of the rows, any number; over 50,000 are thinned out evenly.
    """
    if len(logits) > MOST_ROWS:
        logits = logits[torch.linspace(0, len(logits) - 1, MOST_ROWS, dtype=torch.float64).round().long()]
    favouring_none = decider.aimed_at("uniform").log_probabilities(logits)
    prior = shrunk_em_prior(favouring_none, prior_from_counts(decider.topics.counts).sqrt())
    return AdaptedPrior(decider.topics, tuple(prior.tolist()), len(logits))


def estimate_target(
    decider: Decider, logits: Tensor, held_out: tuple[Tensor, Tensor] | None = None, seed: int = 0
) -> ShiftEstimate:
    """Estimate the prior of unlabelled rows from the encoder's logits (n, C), by EM on calibrated probabilities.

    It is right to use where texts of a topic are what they were in training, only the mixture has moved, and rows come
    in the hundreds; not for a job whose shares are known, or that macro-recall is to be best for.

    Args:
        decider: Its calibration and training prior; its target prior plays no part.
        logits: Of the rows, any number; over 50,000 are thinned out evenly.
        held_out: Logits (m, C) and topics (m,) of labelled rows that the encoder was not trained on. With them errors
            are those of `bootstrap_errors`, which know the calibration's and the classifier's share; without them of
            the rows alone, which is too little wherever the classifier is not perfect.
        seed: Of that bootstrap.

    Raises:
        UserError: If the 95% interval of a share is wider than 0.4: too few rows, or topics that the encoder cannot
            tell apart.
    """
    if len(logits) == 0:
        raise UserError("there are no rows to estimate a target prior from")
    if len(logits) > MOST_ROWS:
        logits = logits[torch.linspace(0, len(logits) - 1, MOST_ROWS, dtype=torch.float64).round().long()]
    if decider.calibration.report is None:
        log.warning("the target prior is estimated from probabilities that were never calibrated: trust it less")
    topics, trained = decider.topics, prior_from_counts(decider.topics.counts)
    probabilities = decider.natural(logits).exp()
    prior = em_prior(probabilities, trained, max_error=None)
    errors = em_standard_error(probabilities, trained, prior)
    _refuse_vague(errors, topics, len(logits))
    shrunk = _shrunk(prior, trained, len(logits))
    if held_out is not None:
        errors = bootstrap_errors(decider, logits, shrunk, *held_out, seed=seed).maximum(errors)
        _refuse_vague(errors, topics, len(logits))
    return ShiftEstimate(topics, tuple(shrunk.tolist()), tuple(errors.tolist()), len(logits), held_out is not None)


def bootstrap_errors(
    decider: Decider, logits: Tensor, prior: Tensor, held_out: Tensor, targets: Tensor, seed: int = 0
) -> Tensor:
    """Standard errors (C,) of an estimated prior (C,) that know calibration and classifier.

    The root of a variance and a squared bias. The variance is that of estimates over resampled unlabelled rows, each
    with a calibration refitted on held-out rows resampled within their topics. The bias is how far estimates from made
    up jobs, held-out rows drawn in the shares of `prior`, miss those: there the truth is known, and a classifier that
    takes one topic for another shows it.

    Args:
        decider: As for `estimate_target`.
        logits: Of the unlabelled rows (n, C); 5,000 of them are enough.
        prior: The estimate.
        held_out: Logits (m, C) of labelled rows.
        targets: Their topics (m,); topics without any are taken to be recognised.
        seed: Of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    logits, targets = logits[: min(len(logits), MOST_RESAMPLED)], targets.detach().cpu().long()
    trained, rows = prior_from_counts(decider.topics.counts), torch.bincount(targets, minlength=len(prior))
    known = torch.where(rows > 0, prior, 0.0)
    known = known / known.sum()
    drawing = (known / rows.clamp(min=1))[targets]
    estimates, made_up = [], []
    for _ in range(RESAMPLES):
        again = _within_topics(targets, generator)
        refitted = decider.refitted(held_out[again], targets[again])
        some = torch.randint(len(logits), (len(logits),), generator=generator)
        job = torch.multinomial(drawing, len(logits), replacement=True, generator=generator)
        for rows_, found in ((logits[some], estimates), (held_out[job], made_up)):
            found.append(_shrunk(em_prior(refitted.natural(rows_).exp(), trained, 1e-4, None), trained, len(rows_)))
    bias = torch.stack(made_up).mean(0) - _shrunk(known, trained, len(logits))
    return (torch.stack(estimates).var(0) + torch.where(rows > 0, bias, 0.0) ** 2).sqrt()


def _within_topics(targets: Tensor, generator: torch.Generator) -> Tensor:
    """Row numbers (m,), drawn with replacement from the rows of the same topic."""
    order = targets.argsort(stable=True)
    rows = torch.bincount(targets)
    first = rows.cumsum(0) - rows
    drawn = (torch.rand(len(targets), generator=generator, dtype=torch.float64) * rows[targets]).long()
    return order[first[targets] + drawn]


def _shrunk(prior: Tensor, trained: Tensor, rows: int) -> Tensor:
    topics = len(prior)
    return (rows * prior + 0.5 + topics * trained / 2) / (rows + topics)


def _refuse_vague(errors: Tensor, topics: Topics, rows: int) -> None:
    widest = MAX_WIDTH / (2 * Z)
    vague = [topic for topic in errors.argsort(descending=True).tolist() if not errors[topic] <= widest]
    if not vague:
        return
    named = ", ".join(f"{topics.names[topic]!r} ({errors[topic].item():.2g})" for topic in vague[:SHOWN])
    more = f" and {len(vague) - SHOWN} more" if len(vague) > SHOWN else ""
    raise UserError(
        f"the target prior of these {rows} rows cannot be estimated: the standard error of the share is over "
        f"{widest:.1f} for {named}{more}; give more rows, or a target prior (uniform, train, or shares by topic)"
    )
