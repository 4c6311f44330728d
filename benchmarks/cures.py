"""Measures each cure alone on the newsroom: macro-recall and prior pull beside the Bayes ceiling, over several seeds.

python benchmarks/cures.py --output runs/cures [--seeds 5]

Every seed draws its own clean set (a 100:1 tail), noisy set and test sets from one newsroom, and its own weights. A
test set has equal topic shares ("uniform") or the reversed tail ("reversed"). Calibrations see only the validation
rows. Finished figures stay in OUTPUT, so an interrupted run resumes; the table is written to OUTPUT/cures.md.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from jsonargparse import ArgumentParser
from scipy.stats import t as student

from unskew.balance import (
    Calibration,
    LossSettings,
    PosteriorCorrector,
    estimate_target,
    mean_posterior,
    prior_correct,
    resolve_prior,
    topic_metrics,
)
from unskew.common import write_text
from unskew.corpus import Newsroom, Record, Topics, stratified_split
from unskew.decoder import DecoderSettings, fit_decoder
from unskew.decoder import topic_prior_from_loss as decoder_prior
from unskew.encoder import EncoderSettings, fit_encoder
from unskew.encoder import topic_prior_from_loss as encoder_prior
from unskew.pipeline import HybridPipeline, Synthesis, SynthesisSettings, TrainingData
from unskew.pipeline.synthesis.fill_topics import fill
from unskew.pipeline.synthesis.results import TopicCounts
from unskew.pipeline.synthesis.text_generator import generator_settings
from unskew.training import PhaseSettings, ScratchSettings

log = logging.getLogger("unskew")

ROOM = Newsroom(difficulty=0.5, seed=0)
COUNTS = ROOM.long_tail_counts(500, 100.0)
TEST_ROWS = 2400
SYNTHETIC_UNDER = 30  # clean rows to which synthetic rows fill up a topic
METRICS = ("balanced_accuracy", "accuracy", "prior_pull")
# With equal topic shares, accuracy is macro-recall.
COLUMNS = {
    ("uniform", "balanced_accuracy"): "uniform: macro-recall",
    ("uniform", "prior_pull"): "prior pull",
    ("reversed", "balanced_accuracy"): "reversed: macro-recall",
    ("reversed", "accuracy"): "accuracy",
    ("reversed", "prior_pull"): "prior pull",
}
PLAIN = LossSettings("cross_entropy", weights="none")

ENCODER = EncoderSettings(
    max_tokens=128, noisy=PhaseSettings(epochs=2, learning_rate=0.004), noisy_loss=PLAIN, loss=PLAIN
)
DECODER = DecoderSettings(
    scratch=ScratchSettings(layers=2, width=64, heads=2, vocabulary=4000),
    prompt="plain",
    max_tokens=128,
    max_target_tokens=32,
    tokens_per_batch=1024,
    adaptation="full",
    topic_loss=PLAIN,
    clean=PhaseSettings(epochs=4, learning_rate=0.001),
)


@dataclass(frozen=True)
class Draw:
    """The sets of one seed."""

    train: list[Record]
    validation: list[Record]
    noisy: list[Record]
    tests: dict[str, list[Record]]
    topics: Topics


@dataclass(frozen=True)
class Cure:
    """One row of the table: what differs from plain training, and how logits become decisions.

    Attributes:
        title: Title in the table.
        change: Differences from the plain settings of the stage.
        decide: "raw" takes the most probable topic; any other name is a rule of `decided`.
        calibration: Kind of calibration, if the rule calibrates.
        fairness: Whether `<force_fairness>` comes before the topic.
        synthetic: Whether synthetic rows of rare topics join the clean ones.
    """

    title: str
    change: dict[str, Any] = field(default_factory=dict)
    decide: str = "raw"
    calibration: str = "none"
    fairness: bool = False
    synthetic: bool = False


ENCODER_CURES = (
    Cure("plain cross-entropy"),
    Cure("inverse frequency", {"loss": LossSettings("cross_entropy", weights="inverse_frequency")}),
    Cure("effective number of samples", {"loss": LossSettings("cross_entropy", weights="effective_number")}),
    Cure("focal, effective number", {"loss": LossSettings("focal")}),
    Cure("logit adjustment", {"loss": LossSettings("logit_adjusted")}),
    Cure("balanced softmax", {"loss": LossSettings("balanced_softmax")}),
    Cure("LDAM, deferred re-weighting", {"loss": LossSettings("ldam")}),
    Cure("tempered sampling, 3:1", {"sampling_ratio": 3.0}),
    Cure(
        "balanced head first, then plain",
        {"head": PhaseSettings(epochs=4, learning_rate=1e-3), "head_loss": LossSettings("balanced_softmax")},
    ),
    Cure(
        "balanced head alone",
        {
            "head": PhaseSettings(epochs=4, learning_rate=1e-3),
            "head_loss": LossSettings("balanced_softmax"),
            "clean": PhaseSettings(epochs=0),
        },
    ),
    Cure(
        "generalised cross-entropy in the warm-up",
        {"noisy_loss": LossSettings("generalised_cross_entropy", weights="none", q=0.5)},
    ),
    Cure("synthetic rows", synthetic=True),
    Cure("synthetic rows, tempered sampling: paraphrases as repeats", {"sampling_ratio": 3.0}, synthetic=True),
    Cure("temperature", decide="calibrated", calibration="temperature"),
    Cure("per-class temperature", decide="calibrated", calibration="per_class_temperature"),
    Cure("prior correction by counts, to uniform", decide="uniform"),
    Cure("the same after bias-corrected temperature", decide="uniform", calibration="bias_corrected_temperature"),
    Cure("prior correction by mean posterior, to uniform", decide="posterior"),
    Cure("to the test prior estimated by EM", decide="estimate", calibration="bias_corrected_temperature"),
    Cure("to the true test prior, given", decide="given", calibration="bias_corrected_temperature"),
    Cure(
        "recommended: effective number, calibration, to uniform",
        {"loss": LossSettings("cross_entropy", weights="effective_number")},
        decide="uniform",
        calibration="bias_corrected_temperature",
    ),
)
# Low-rank adapters need a higher learning rate than full fine-tuning.
LORA: dict[str, Any] = {"adaptation": "lora", "clean": PhaseSettings(epochs=4, learning_rate=0.004)}
DECODER_CURES = (
    Cure("plain: full fine-tuning, cross-entropy"),
    Cure("LoRA", LORA),
    Cure("the last block", {"adaptation": "top_blocks", "blocks": 1}),
    Cure("topic token: effective number", {"topic_loss": LossSettings("cross_entropy", weights="effective_number")}),
    Cure("topic token: focal", {"topic_loss": LossSettings("focal", weights="none")}),
    Cure("topic token: logit adjustment", {"topic_loss": LossSettings("logit_adjusted")}),
    Cure("tempered sampling, 3:1", {"sampling_ratio": 3.0}),
    Cure("synthetic rows", synthetic=True),
    Cure("synthetic rows, tempered sampling: paraphrases as repeats", {"sampling_ratio": 3.0}, synthetic=True),
    Cure("noisy topics too: its base has learnt to choose them", {"noisy_topic_loss": PLAIN}),
    Cure("instruction prompt", {"prompt": "instruction", "max_tokens": 192}),
    Cure("trained with <force_fairness>, used without", {"fairness": True}),
    Cure("trained with <force_fairness>, used with", {"fairness": True}, fairness=True),
    Cure("prior correction by counts, to uniform", decide="uniform"),
    Cure(
        "recommended: LoRA, effective number, instruction, calibration",
        {
            **LORA,
            "topic_loss": LossSettings("cross_entropy", weights="effective_number"),
            "prompt": "instruction",
            "max_tokens": 192,
        },
        decide="uniform",
        calibration="bias_corrected_temperature",
    ),
)


def draw(seed: int) -> Draw:
    """All sets of one seed."""
    clean = ROOM.sample_counts(COUNTS, [seed, 1], "train")
    rest, held_out = stratified_split([str(record.topic) for record in clean], 0.15, seed)
    train, validation = [clean[i] for i in rest], [clean[i] for i in held_out]
    prior = ROOM.long_tail_counts(500, 30.0)
    noisy = ROOM.flip(ROOM.sample(12_000, prior, [seed, 2], "noisy"), 0.3, prior, [seed, 3])
    reversed_counts = [round(TEST_ROWS * count / sum(COUNTS)) for count in reversed(COUNTS)]
    tests = {
        "uniform": ROOM.sample_counts([TEST_ROWS // len(COUNTS)] * len(COUNTS), [seed, 4], "uniform"),
        "reversed": ROOM.sample_counts(reversed_counts, [seed, 5], "reversed"),
    }
    return Draw(train, validation, noisy, tests, Topics.from_labels(str(record.topic) for record in train))


def figures(probabilities: torch.Tensor, records: list[Record], topics: Topics) -> dict[str, float | None]:
    """The figures of one test set."""
    found = topic_metrics(probabilities, torch.tensor(topics.encode(str(r.topic) for r in records)), topics.counts)
    return {name: found[name] for name in METRICS}


def ceiling(sets: Draw) -> dict[str, Any]:
    """The Bayes rule for equal topic shares: no classifier has a higher macro-recall."""
    columns = [ROOM.topics.index(name) for name in sets.topics.names]
    return {
        name: figures(torch.tensor(ROOM.posterior([r.text for r in records])[:, columns]), records, sets.topics)
        for name, records in sets.tests.items()
    }


def decided(
    cure: Cure, corrector: PosteriorCorrector, logits: dict[str, torch.Tensor], sets: Draw, test: str
) -> torch.Tensor:
    """Probabilities (n, C) of a test set under the cure's rule."""
    if cure.decide == "raw":
        return logits[test].softmax(-1)
    if cure.decide == "posterior":
        prior = mean_posterior(logits["validation"].softmax(-1))
        return prior_correct(logits[test], prior / prior.sum(), torch.full_like(prior, 1 / len(prior))).exp()
    targets = torch.tensor(sets.topics.encode(str(record.topic) for record in sets.validation))
    fitted = corrector.calibrate(logits["validation"], targets, cure.calibration)  # pyright: ignore[reportArgumentType]
    if cure.decide == "calibrated":
        return fitted.with_target_prior("train")(logits[test])
    if cure.decide == "estimate":
        return replace(fitted, target=estimate_target(fitted, logits[test]).prior)(logits[test])
    if cure.decide == "given":
        true = Topics.from_labels(str(record.topic) for record in sets.tests[test])
        return fitted.with_target_prior(dict(zip(true.names, true.prior, strict=True)))(logits[test])
    return fitted.with_target_prior("uniform")(logits[test])


def encoder_figures(cure: Cure, sets: Draw, place: Path, seed: int) -> dict[str, Any]:
    """Fit stage 1 under a cure and measure its decisions."""
    settings = replace(ENCODER, **cure.change)
    train = _train(cure, sets, place, seed)
    encoder = fit_encoder(train, sets.validation, sets.noisy, sets.topics, settings, place / "encoder", seed)
    return _measured(cure, sets, encoder_prior(settings, train, sets.topics), encoder.logits)


def decoder_figures(cure: Cure, sets: Draw, place: Path, seed: int) -> dict[str, Any]:
    """Fit the decoder-only baseline under a cure and measure the topics it chooses."""
    settings = replace(DECODER, **cure.change)
    train = _train(cure, sets, place, seed)
    decoder = fit_decoder(train, sets.validation, sets.noisy, sets.topics, settings, place / "decoder", seed)
    model_prior = decoder_prior(settings, train, sets.topics, cure.fairness)
    return _measured(cure, sets, model_prior, partial(decoder.topic_logits, fairness=cure.fairness))


def _train(cure: Cure, sets: Draw, place: Path, seed: int) -> list[Record]:
    if not cure.synthetic:
        return sets.train
    rows = cached(place / "synthetic.json", partial(synthetic_rows, sets, place, seed))["rows"]
    return sets.train + [Record(**{name: row[name] for name in Record.__slots__ if name in row}) for row in rows]


def synthetic_rows(sets: Draw, place: Path, seed: int) -> dict[str, Any]:
    """Rows of rare topics by the plain decoder of the seed, kept where its logit-adjusted encoder agrees."""
    judging = replace(ENCODER, loss=LossSettings("logit_adjusted"))
    stages = sets.train, sets.validation, sets.noisy, sets.topics
    encoder = fit_encoder(*stages, judging, place / "encoder", seed)
    decoder = fit_decoder(*stages, DECODER, place / "decoder", seed)
    uniform = resolve_prior("uniform", sets.topics)
    model_prior = encoder_prior(judging, sets.train, sets.topics)
    pipeline = HybridPipeline(encoder, decoder, PosteriorCorrector(sets.topics, model_prior, Calibration(), uniform))
    counts = dict(zip(sets.topics.names, map(int, sets.topics.counts), strict=True))
    wanted = {name: TopicCounts(n, SYNTHETIC_UNDER - n) for name, n in counts.items() if n < SYNTHETIC_UNDER}
    result = Synthesis(wanted)
    fill(
        result,
        pipeline,
        TrainingData(*stages),
        SynthesisSettings(seed=seed),
        generator_settings(DECODER),
        place / "generator",
        "cures",
    )
    return {"rows": result.kept, "missing": result.missing}


def _measured(cure: Cure, sets: Draw, model_prior: tuple[float, ...], score: Any) -> dict[str, Any]:
    corrector = PosteriorCorrector(sets.topics, model_prior, Calibration(), resolve_prior("uniform", sets.topics))
    rows = {"validation": sets.validation, **sets.tests}
    logits = {name: score([record.text for record in records]) for name, records in rows.items()}
    return {
        test: figures(decided(cure, corrector, logits, sets, test), records, sets.topics)
        for test, records in sets.tests.items()
    }


def cached(path: Path, make: Any) -> dict[str, Any]:
    """The figures in `path`, computed first if the file is missing."""
    if not path.exists():
        write_text(path, json.dumps(make(), indent=2) + "\n")
    return json.loads(path.read_text("utf-8"))


def interval(values: list[float]) -> str:
    """Mean and the half width of its 95% t interval."""
    half = student.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{mean(values):.3f} ± {half:.3f}"


def table(rows: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """A Markdown table: a row for each cure, with the figures of both test sets."""
    yield f"| | {' | '.join(COLUMNS.values())} |"
    yield "|---" * (len(COLUMNS) + 1) + "|"
    for title, runs in rows.items():
        cells = [interval([run[test][name] for run in runs]) for test, name in COLUMNS]
        yield f"| {title} | " + " | ".join(cells) + " |"


def main() -> None:
    """Fit and measure all missing figures; write and print the table."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder of fits and figures")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--stages", type=list[str], default=["encoder", "decoder"], help="which to measure")
    given = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)
    stages = {"encoder": (ENCODER_CURES, encoder_figures), "decoder": (DECODER_CURES, decoder_figures)}
    lines: list[str] = []
    for stage in given.stages:
        cures, fit = stages[stage]
        rows: dict[str, list[dict[str, Any]]] = {"Bayes ceiling": []} | {cure.title: [] for cure in cures}
        for seed in range(given.seeds):
            sets, place = draw(seed), given.output / f"seed-{seed}"
            rows["Bayes ceiling"].append(ceiling(sets))
            for cure in cures:
                log.info("== seed %d, %s: %s", seed, stage, cure.title)
                path = place / "figures" / f"{stage}, {cure.title.replace('/', ' ')}.json"
                rows[cure.title].append(cached(path, partial(fit, cure, sets, place, seed)))
        lines += [f"### {stage.capitalize()}", "", *table(rows), ""]
        write_text(given.output / "cures.md", "\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
