"""Simulates calibration, losses that are not proper, conformal sets, estimated priors and decisions on a known truth.

python benchmarks/guarantees/posterior.py [--repeats 40] [--tables calibration,maps,losses,conformal,priors,decisions]

Texts are points of a Gaussian mixture in six dimensions, 12 topics in a tail of 100:1, so that the exact posterior is
known. Held-out rows are stratified with at least one of each topic; test rows have equal topic shares by default.
"""

import sys
from collections import defaultdict
from dataclasses import replace

import torch
from jsonargparse import auto_cli
from torch import Tensor
from tqdm import tqdm

from unskew.balance import (
    Calibration,
    LossSettings,
    PosteriorCorrector,
    TunedMetric,
    adapt_target,
    estimate_target,
    fit_calibration,
    fit_conformal,
    loss_link,
    make_loss,
    prior_from_loss,
    threshold_for_accuracy,
    tune_offsets,
)
from unskew.balance import topic_metrics as measured
from unskew.balance.calibration import share_weights
from unskew.common import UserError
from unskew.corpus import Topics

TOPICS = 12
COUNTS = [round(500 * 0.01 ** (i / (TOPICS - 1))) for i in range(TOPICS)]
NAMES = Topics(tuple(f"t{i}" for i in range(TOPICS)), tuple(COUNTS))
PRIOR = torch.tensor(COUNTS).double() / sum(COUNTS)
UNIFORM = torch.full((TOPICS,), 1 / TOPICS, dtype=torch.float64)
CENTRES = 1.3 * torch.randn(TOPICS, 6, generator=torch.Generator().manual_seed(3)).double()


def texts(labels: Tensor, draw: torch.Generator) -> Tensor:
    """Points (n, 6) of topics (n,)."""
    return CENTRES[labels] + torch.randn(len(labels), 6, generator=draw).double()


def exact(points: Tensor, prior: Tensor, centres: Tensor = CENTRES) -> Tensor:
    """Log-posteriors (n, C) under a prior."""
    return (points @ centres.T - (centres**2).sum(-1) / 2 + prior.log()).log_softmax(-1)


def held_out(rows: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Stratified rows with at least one of each topic: points and topics."""
    labels = torch.arange(TOPICS).repeat_interleave((PRIOR * rows).round().clamp(min=1).long())
    return texts(labels, draw), labels


def main(repeats: int = 40, tables: str = "calibration,maps,losses,conformal,priors,decisions") -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    for name in tables.split(","):
        table = {t.__name__: t for t in (calibration, maps, losses, conformal, priors, decisions)}[name]
        print(f"\n{table.__doc__}\n")
        table(repeats)


def calibration(repeats: int) -> None:
    """Calibration on an exactly right model: which map is kept, and balanced accuracy under a uniform prior (mean)."""
    print("| rows | biases kept, weighted | any map kept, weighted | biases kept, rows alike |", end="")
    print(" balanced accuracy: weighted | rows alike | ceiling |\n|---|---|---|---|---|---|---|")
    for rows in (50, 100, 186, 500):
        found = defaultdict(list)
        for seed in range(2 * repeats):
            draw = torch.Generator().manual_seed(seed)
            points, labels = held_out(rows, draw)
            test = torch.arange(TOPICS).repeat(60)
            logits, new = exact(points, PRIOR), exact(texts(test, draw), PRIOR)
            plain = PosteriorCorrector(NAMES, tuple(PRIOR.tolist()), Calibration(), tuple(UNIFORM.tolist()))
            weighted = plain.calibrate(logits, labels, "bias_corrected_temperature")
            map_ = fit_calibration(logits, labels)
            alike = PosteriorCorrector(NAMES, plain.model_prior, map_, plain.target)
            for name, corrector in (("weighted", weighted), ("alike", alike), ("ceiling", plain)):
                report = corrector.calibration.report
                found[name].append((corrector(new).argmax(-1) == test).double().mean())
                found[name + " bias"].append(float(bool(report and report.kept and corrector.calibration.bias)))
                found[name + " any"].append(float(bool(report and report.kept)))
        shown = ("weighted bias", "weighted any", "alike bias", "weighted", "alike", "ceiling")
        print(
            f"| {rows} | " + " | ".join(f"{torch.tensor(found[name]).mean():.3f}" for name in shown) + " |", flush=True
        )


def maps(repeats: int) -> None:
    """Calibration of a wrong model: how often any map is kept, and how often one with biases."""
    print("| rows | logits times | biases, nats at the ends | any map kept | biases kept |\n|---|---|---|---|---|")
    for rows in (186, 500):
        for times, tilt in ((1.5, 0.0), (2.0, 0.0), (1.0, 1.0)):
            found = []
            for seed in range(repeats):
                draw = torch.Generator().manual_seed(seed)
                points, labels = held_out(rows, draw)
                logits = times * exact(points, PRIOR) + tilt * torch.linspace(-1, 1, TOPICS).double()
                plain = PosteriorCorrector(NAMES, tuple(PRIOR.tolist()), Calibration(), NAMES.prior)
                map_ = plain.calibrate(logits, labels, "bias_corrected_temperature").calibration
                found.append((float(bool(map_.report and map_.report.kept)), float(bool(map_.bias))))
            kept, biases = torch.tensor(found).mean(0).tolist()
            print(f"| {rows} | {times} | {tilt} | {kept:.2f} | {biases:.2f} |", flush=True)


def losses(repeats: int) -> None:
    """Losses at their minimum, divided by their implied prior: balanced accuracy with and without the exact inverse."""
    print("| loss | as it stands | undone | Bayes rule |\n|---|---|---|---|")
    draw = torch.Generator().manual_seed(0)
    test = torch.arange(TOPICS).repeat(100)
    truth = exact(texts(test, draw), PRIOR)
    best = (exact_under_uniform(truth).argmax(-1) == test).double().mean()
    for settings in (
        LossSettings("focal", weights="none"),
        LossSettings("focal", weights="none", gamma=5.0),
        LossSettings(weights="none", label_smoothing=0.1),
        LossSettings("balanced_softmax", label_smoothing=0.1),
        LossSettings("focal", weights="none", label_smoothing=0.1),
        LossSettings("ldam", weights="none"),
        LossSettings("generalised_cross_entropy", weights="none", q=0.5),
    ):
        logits = _minimised(settings, truth)
        taught = tuple(prior_from_loss(settings, COUNTS).tolist())
        plain = PosteriorCorrector(NAMES, taught, Calibration(), tuple(UNIFORM.tolist()))
        undone = PosteriorCorrector(NAMES, taught, Calibration(), plain.target, loss_link(settings, COUNTS))
        cells = [(corrector(logits).argmax(-1) == test).double().mean() for corrector in (plain, undone)]
        name = f"{settings.name}, gamma {settings.gamma or '-'}, smoothing {settings.label_smoothing or 0}"
        print(f"| {name} | {cells[0]:.3f} | {cells[1]:.3f} | {best:.3f} |", flush=True)


def exact_under_uniform(log_posterior: Tensor) -> Tensor:
    """The Bayes rule for equal topic shares."""
    return log_posterior - PRIOR.log()


def _minimised(settings: LossSettings, log_posterior: Tensor) -> Tensor:
    """Logits (n, C) that minimise the expected loss of each text."""
    loss = make_loss(settings, COUNTS)
    loss.set_progress(1.0)
    logits = log_posterior.clone().requires_grad_()
    posterior = log_posterior.exp()
    optimizer = torch.optim.LBFGS([logits], max_iter=3000, history_size=20, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimizer.zero_grad()
        rows = [loss.row_losses(logits, torch.full((len(logits),), topic)) for topic in range(TOPICS)]
        value = (posterior * torch.stack(rows, 1) * loss.weights.double()).sum()
        value.backward()
        return value

    optimizer.step(step)  # pyright: ignore[reportArgumentType]
    return logits.detach()


def conformal(repeats: int) -> None:
    """Conformal sets at 0.90: coverage of the three rarest topics and of all, and topics in a set, by promise."""
    print("| calibration rows | promise | coverage of the rarest three | of all | topics in a set |")
    print("|---|---|---|---|---|")
    test = torch.arange(TOPICS).repeat(400)
    for rows in (300, 1500, 6000):
        for kind in ("per_topic", "clustered", "pooled"):
            covered, sizes = [], []
            for seed in range(2 * repeats):
                draw = torch.Generator().manual_seed(seed)
                labels = torch.multinomial(PRIOR, rows, True, generator=draw)
                sets = fit_conformal(exact(texts(labels, draw), PRIOR).exp(), labels, 0.1, kind)
                found = sets(exact(texts(test, draw), PRIOR).exp())
                hits = found[torch.arange(len(test)), test].double()
                covered.append(torch.stack([hits[test == topic].mean() for topic in range(TOPICS)]))
                sizes.append(found.sum(-1).double().mean())
            mean = torch.stack(covered).mean(0)
            rare = ", ".join(f"{value:.2f}" for value in mean[-3:].tolist())
            print(f"| {rows} | {kind} | {rare} | {mean.mean():.2f} | {torch.stack(sizes).mean():.1f} |", flush=True)


def priors(repeats: int) -> None:
    """Estimated priors with an imperfect classifier: coverage and width of 95% intervals."""
    print(
        "| held-out rows | unlabelled rows | rows alone: coverage | width | with held-out rows | width | refused ",
        end="",
    )
    print("| adaptive: coverage | width |\n|---|---|---|---|---|---|---|---|---|")
    for labelled, unlabelled in ((240, 300), (240, 2000), (1000, 2000)):
        found, refused = defaultdict(list), 0
        for seed in tqdm(range(repeats // 2), file=sys.stderr, leave=False):
            draw = torch.Generator().manual_seed(seed)
            wrong = CENTRES + 0.25 * torch.randn(TOPICS, 6, generator=draw).double()
            points, labels = held_out(labelled, draw)
            wanted = torch.rand(TOPICS, generator=draw).double() ** 2 + 0.02
            wanted = wanted / wanted.sum()
            job = 1.3 * exact(texts(torch.multinomial(wanted, unlabelled, True, generator=draw), draw), PRIOR, wrong)
            corrector = PosteriorCorrector(NAMES, tuple(PRIOR.tolist()), Calibration(), NAMES.prior)
            corrector = corrector.calibrate(1.3 * exact(points, PRIOR, wrong), labels, "bias_corrected_temperature")
            estimators = {
                "alone": lambda known, job=job: estimate_target(replace(known, rows=None), job),
                "both": lambda known, job=job: estimate_target(known, job),
                "adaptive": lambda known, job=job: adapt_target(known, job),
            }
            for name, estimator in estimators.items():
                try:
                    low, high = torch.tensor(estimator(corrector).intervals).double().T
                except UserError:
                    refused += name == "both"
                    continue
                found[name].append(((low <= wanted) & (wanted <= high)).double().mean())
                found[name + " width"].append((high - low).mean())
        cells = {name: f"{torch.stack(values).mean():.3f}" for name, values in found.items()}
        told = [f"{cells[name]} | {cells[name + ' width']}" for name in ("alone", "both", "adaptive")]
        share = f"{refused} of {repeats // 2}"
        print(f"| {labelled} | {unlabelled} | {told[0]} | {told[1]} | {share} | {told[2]} |", flush=True)


def decisions(repeats: int) -> None:
    """How often a derived confidence falls short of the wanted accuracy, and the gain of tuned offsets."""
    print("| job's shares | held-out rows | wanted | falls short | refused | undecided |\n|---|---|---|---|---|---|")
    root = PRIOR.sqrt() / PRIOR.sqrt().sum()
    for name, prior in (("train", PRIOR), ("square roots", root), ("uniform", UNIFORM)):
        for rows in (300, 1000, 4000):
            for wanted in (0.8, 0.9):
                print(f"| {name} | {rows} | {wanted} | {_thresholds(prior, rows, wanted, repeats)} |", flush=True)
    print("\n| tuned for | held-out rows | job's shares | kept | before | after | Bayes rule |")
    print("|---|---|---|---|---|---|---|")
    for metric in ("macro_f1", "balanced_accuracy"):
        for rows in (300, 1000):
            print(f"| {metric} | {rows} | train | {_offsets(metric, rows, repeats)} |", flush=True)


def _thresholds(prior: Tensor, rows: int, wanted: float, repeats: int) -> str:
    draw = torch.Generator().manual_seed(999)
    test = torch.multinomial(prior, 20_000, True, generator=draw)
    confidence, decided = exact(texts(test, draw), prior).exp().max(-1)
    short, undecided = 0, []
    for seed in range(repeats):
        draw = torch.Generator().manual_seed(seed)
        labels = torch.cat([torch.arange(TOPICS), torch.multinomial(PRIOR, rows - TOPICS, True, generator=draw)])
        known = exact(texts(labels, draw), prior).exp()
        try:
            found = threshold_for_accuracy(known, labels, wanted, weights=share_weights(labels, prior))
        except UserError:
            continue
        kept = confidence >= found.value
        short += (decided[kept] == test[kept]).double().mean().item() < wanted
        undecided.append((~kept).double().mean())
    left = f"{torch.stack(undecided).mean():.2f}" if undecided else ""
    return f"{short / repeats:.3f} | {1 - len(undecided) / repeats:.2f} | {left}"


def _offsets(metric: TunedMetric, rows: int, repeats: int) -> str:
    draw = torch.Generator().manual_seed(999)
    test = torch.multinomial(PRIOR, 20_000, True, generator=draw)
    new = exact(texts(test, draw), PRIOR)
    values, kept = [], 0
    for seed in range(repeats):
        draw = torch.Generator().manual_seed(seed)
        points, labels = held_out(rows, draw)
        tuned = tune_offsets(exact(points, PRIOR).exp(), labels, metric)
        kept += tuned.kept
        values.append(_score(new + torch.tensor(tuned.offsets), test, metric))
    best = _score(new - PRIOR.log(), test, metric) if metric == "balanced_accuracy" else None
    figures = (_score(new, test, metric), sum(values) / repeats, best)
    return f"{kept / repeats:.2f} | " + " | ".join("" if value is None else f"{value:.3f}" for value in figures)


def _score(log_p: Tensor, labels: Tensor, metric: TunedMetric) -> float:
    return measured(log_p.softmax(-1), labels, COUNTS)[metric] or 0.0


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
