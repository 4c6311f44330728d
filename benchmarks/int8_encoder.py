"""Measures what int8 costs the encoder in quality, and what fitting its calibration again would bring.

    RAYON_NUM_THREADS=1 OMP_NUM_THREADS=1 python benchmarks/int8_encoder.py --model BUNDLE --train FILE --test FILE

Every arm predicts the test rows under a uniform prior. "7 bits" is what a processor without VNNI computes. Three refits
on int8's logits: "mapped", a scale and a bias for each topic that bring the logits of the training texts nearest to
float32's (least squares, no labels), under the calibration as it is; "refitted", one temperature on the training rows
with their topics, which the encoder was trained on; and "best", the temperature that the test rows themselves would
choose (times that of the calibration): no refit of one temperature can bring more. NLL's difference from float32 is a
mean over rows with its standard error. With `--rounds`, jobs over the test rows instead, a median of rounds in turns.
"""

import argparse
import math
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch
from topics_only import clock, our_job
from torch import Tensor

from unskew.balance import PosteriorCorrector, paired_difference, topic_metrics
from unskew.corpus import load_usable
from unskew.pipeline import HybridPipeline
from unskew.runtime import Precision, int8

Rows = tuple[list[str], Tensor]


def logits(model: str, precision: Precision, sets: list[Rows], input_max: int | None = None) -> list[Tensor]:
    """Logits of each set's texts; `input_max` is the integer for a row's largest input, by default the processor's."""
    own = int8.int8_input_max
    int8.int8_input_max = (lambda: input_max) if input_max else own
    encoder = HybridPipeline.from_pretrained(model, "cpu", precision=precision).encoder
    found = [encoder.logits(texts) for texts, _ in sets]
    int8.int8_input_max = own
    return found


def mapped(source: Tensor, target: Tensor, rows: Tensor) -> Tensor:
    """`rows` (m, C) under the scale and biases that bring `source` (n, C) nearest to `target`, row means apart."""
    x, y = (values - values.mean(1, keepdim=True) for values in (source.double(), target.double()))
    scale = ((x - x.mean(0)) * (y - y.mean(0))).sum() / (x - x.mean(0)).square().sum()
    return (rows.double() - rows.double().mean(1, keepdim=True)) * scale + (y.mean(0) - scale * x.mean(0))


def best_temperature(corrector: PosteriorCorrector, found: Tensor, labels: Tensor) -> tuple[float, PosteriorCorrector]:
    """The factor of the temperature that rows (n, C) with labels (n,) would choose, and the calibration with it."""
    old = corrector.calibration

    def scaled(log_factor: float) -> PosteriorCorrector:
        moved = tuple(value + log_factor for value in old.log_temperature)
        return replace(corrector, calibration=replace(old, log_temperature=moved))

    steps = torch.linspace(-0.7, 0.7, 141).tolist()
    best = min(steps, key=lambda step: losses(scaled(step), found, labels).mean().item())
    return math.exp(best), scaled(best)


def losses(corrector: PosteriorCorrector, found: Tensor, labels: Tensor) -> Tensor:
    """The NLL (n,) of each row in nats."""
    return -corrector.log_probabilities(found).double().gather(-1, labels[:, None])[:, 0]


def arms(
    model: str, corrector: PosteriorCorrector, train: Rows, test: Rows
) -> Iterator[tuple[str, PosteriorCorrector, Tensor]]:
    """Each arm with its corrector and its logits of the test rows; float32 is the first."""

    def best(name: str, found: Tensor) -> tuple[str, PosteriorCorrector, Tensor]:
        factor, own = best_temperature(corrector, found, test[1])
        return f"{name}, best ({factor:.2f})", own, found

    exact = logits(model, "float32", [train, test])
    yield "float32", corrector, exact[1]
    yield best("float32", exact[1])
    yield "bfloat16", corrector, logits(model, "bfloat16", [test])[0]
    for name, input_max in (("int8", None), ("int8, 7 bits", 63)):
        seen, found = logits(model, "int8", [train, test], input_max)
        yield name, corrector, found
        yield f"{name}, mapped", corrector, mapped(seen, exact[0], found).float()
        yield f"{name}, refitted", corrector.calibrate(seen, train[1], "temperature"), found
        yield best(name, found)


def quality(model: str, train_file: str, test_file: str) -> Iterator[str]:
    """Lines of the table of all arms."""
    corrector = HybridPipeline.from_pretrained(model, "cpu").corrector.with_target_prior("uniform")
    train, test = (read(file, corrector) for file in (train_file, test_file))
    yield "| | accuracy | macro-F1 | NLL | NLL above float32's | ECE | same topics | largest shift of a logit |"
    yield "|---|---|---|---|---|---|---|---|"
    first = None
    for name, own, found in arms(model, corrector, train, test):
        probabilities, nll = own(found), losses(own, found, test[1])
        first = first or (found, probabilities.argmax(-1), nll)
        metrics = topic_metrics(probabilities, test[1], corrector.topics.counts)
        change, error = paired_difference(nll, first[2])
        same = (probabilities.argmax(-1) == first[1]).double().mean()
        shift = (found.log_softmax(-1) - first[0].log_softmax(-1)).abs().max()
        figures = " | ".join(f"{metrics[key]:.3f}" for key in ("accuracy", "macro_f1"))
        yield (
            f"| {name} | {figures} | {metrics['nll']:.4f} | {change:+.4f} ± {error:.4f} "
            f"| {metrics['ece']:.3f} | {same:.1%} | {shift:.2f} |"
        )


def speed(model: str, test_file: str, rounds: int) -> Iterator[str]:
    """Lines of the table of jobs: rows a second of processor time, without loading."""
    texts, seconds = [row.text for row in load_usable(test_file)[0]], defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        pipes = {name: HybridPipeline.from_pretrained(model, "cpu", precision=name) for name in get_args(Precision)}
        jobs = {name: our_job(pipe, model, Path(folder)) for name, pipe in pipes.items()}
        for _ in range(rounds + 1):
            for name, job in jobs.items():
                seconds[name].append(clock(job, texts)[0])
    yield "| | rows/s | times float32's rate |\n|---|---|---|"
    for name, own in seconds.items():
        ratio = statistics.median(one / other for one, other in zip(seconds["float32"][1:], own[1:], strict=True))
        yield f"| {name} | {len(texts) / statistics.median(own[1:]):.0f} | {ratio:.2f} |"


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a bundle fitted with `decoder: null`")
    parser.add_argument("--train", required=True)
    parser.add_argument("--test", required=True)
    parser.add_argument("--rounds", type=int, default=0, help="of jobs in each precision; 0 measures quality")
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = quality(given.model, given.train, given.test)
    if given.rounds:
        lines = speed(given.model, given.test, given.rounds)
    for line in lines:
        print(line, flush=True)


def read(file: str, corrector: PosteriorCorrector) -> Rows:
    """The texts of a file's rows and their topics (n,)."""
    rows = [row for row in load_usable(file, needs=("text", "topic"))[0] if row.topic in corrector.topics]
    return [row.text for row in rows], torch.tensor(corrector.topics.encode(str(row.topic) for row in rows))


if __name__ == "__main__":
    main()
