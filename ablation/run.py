"""Runs an ablation: every arm once with every seed, resuming where an earlier call stopped.

Knows the order of the work and the files in OUTPUT: runs/ARM-SEED-FINGERPRINT.json with the figures and predictions of
each finished run, fits/ with the checkpoints that arms share, results.json. It does not know what an arm does.
"""

import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..common import UserError, check_writable, fingerprint, model_folder, read_artefact, write_text
from ..decoder import DecoderSettings, check_base, has_target, judge_of_records
from ..encoder import EncoderSettings
from ..pipeline import TrainingData
from ..training import base_contents
from .data import TestRows, changes_of_labels, contents, read_test, read_training, synthetic_contents
from .metrics import run_arm
from .models import FittedStages
from .progress import ProgressBoard
from .ray_workers import map_seeds
from .results import assemble
from .settings import AblationSettings, ArmSettings
from .stored import FinishedRun
from .warned import Warned, warning_once

log = logging.getLogger("unskew")

RESULTS = "results.json"
RUNS = "runs"
ROWS = "fits/rows"
MEASURED = 6  # increased when training or metrics change, so that older runs are not mixed in

Runs = dict[str, dict[int, dict[str, Any]]]


def ablate(
    settings: AblationSettings,
    output: str | Path,
    *,
    command: str = "",
    rerun: bool = False,
    workers: int | None = None,
) -> dict[str, Any]:
    """Run the missing runs; write and return the results of all arms asked for.

    On an interruption it writes the results of the finished runs, and then raises the interruption.

    Args:
        settings: The comparison.
        output: Folder of the ablation.
        command: The command line to record in the results.
        rerun: Whether finished runs are done again; fitted models are still used.
        workers: Number of seeds to run at the same time, as Ray tasks; None runs them here, one after the other.

    Raises:
        UserError: If an input cannot be used, or the folder contains something else.
    """
    output = model_folder(output)
    if output.exists() and any(output.iterdir()) and not (output / RUNS).is_dir():
        raise UserError(f"the folder {output} has other contents (no {RUNS}); choose another name")
    check_writable(output)
    (output / RUNS).mkdir(exist_ok=True)  # this marks the folder as an ablation's
    warned = Warned()
    with warning_once(warned.is_new):
        return _ablate(settings, output, command, rerun, workers, warned)


def _ablate(
    settings: AblationSettings, output: Path, command: str, rerun: bool, workers: int | None, warned: Warned
) -> dict[str, Any]:
    settings = replace(settings, arms=_possible(settings))
    training = read_training(settings, settings.run_seeds[0], output / ROWS)
    test = read_test(settings, training)
    work = _Work(settings, output.resolve(), test, rerun)
    work.check_bases(training)
    try:
        if workers is None:
            work.run(settings.run_seeds)
        else:
            map_seeds(work.run_seed, settings.run_seeds, workers, warned)
            work.read_finished()
        work.check_same_start()
    except KeyboardInterrupt:
        work.read_finished()  # runs that workers have finished
        if any(work.runs.values()):
            work.write(command, training)
        raise
    return work.write(command, training)


class _Work:
    """One call of `ablate`."""

    def __init__(self, settings: AblationSettings, output: Path, test: TestRows, rerun: bool) -> None:
        self.settings, self.output, self.test = settings, output, test
        self._rows, self._synthetic = contents(settings), synthetic_contents(settings)
        self._labels = changes_of_labels(settings)
        arms = settings.chosen.values()
        bases = {settings.encoder_of(arm).base for arm in arms} | {settings.decoder_of(arm).base for arm in arms}
        self._base_contents = {base: base_contents(base) for base in bases}
        self.runs: Runs = {name: {} for name in settings.chosen}
        if not rerun:
            self.read_finished()

    def check_bases(self, training: TrainingData) -> None:
        """Refuse decoders that could not be fitted, before any fit starts."""
        checked: list[DecoderSettings] = []
        for seed, name in self._all():
            arm, decoder = self.settings.chosen[name], self.settings.decoder_of(self.settings.chosen[name])
            if arm.reads_decoder and seed not in self.runs[name] and decoder not in checked:
                check_base(decoder, training.topics, self.output)
                checked.append(decoder)

    def run_seed(self, seed: int) -> None:
        """Do the missing runs of one seed."""
        self.run((seed,))

    def run(self, seeds: Sequence[int]) -> None:
        """Do the missing runs, seed by seed; arms that share models come one after the other."""
        board = ProgressBoard({name: arm.title for name, arm in self.settings.chosen.items()}, seeds)
        missing = [(seed, name) for seed, name in self._all() if seed in seeds and seed not in self.runs[name]]
        board.begin({name: {seed: run["metrics"] for seed, run in own.items()} for name, own in self.runs.items()})
        stages: FittedStages | None = None
        for seed, name in missing:
            if stages is None or stages.seed != seed:
                stages = FittedStages(self.settings, seed, self.output / "fits" / f"seed-{seed}", self.output / ROWS)
            board.start(name, seed)
            begun = time.monotonic()
            run = run_arm(self.settings.chosen[name], stages, self.test)
            write_text(self._path(name, seed), json.dumps({**run, "arm": name, "seed": seed}) + "\n")
            self.runs[name][seed] = run
            board.done(name, seed, run["metrics"], time.monotonic() - begun)

    def write(self, command: str, training: TrainingData) -> dict[str, Any]:
        """Write results.json for the finished runs."""
        rows = {
            "train": len(training.train),
            "validation": len(training.validation),
            "noisy": len(training.noisy or ()),
        }
        finished = {name: dict(sorted(own.items())) for name, own in self.runs.items() if own}
        results = assemble(self.settings, finished, self.test, rows, command, self._targets_fit(training))
        write_text(self.output / RESULTS, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        return results

    def _targets_fit(self, training: TrainingData) -> float:
        """Share of the test targets that read like their topic; 1 without outputs."""
        if not any(arm.write for arm in self.settings.chosen.values()):
            return 1.0
        judge = judge_of_records([record for record in training.train if has_target(record)])
        written = [self.test.records[i] for i in self.test.outputs]
        return judge.fit_share([str(record.target) for record in written], [str(record.topic) for record in written])

    def _all(self) -> Iterator[tuple[int, str]]:
        """Every seed and arm; within a seed, arms with equal models come together."""
        groups: dict[str, list[str]] = defaultdict(list)
        for name, arm in self.settings.chosen.items():
            groups[self.settings.fit_key(arm)].append(name)
        for number, seed in enumerate(self.settings.run_seeds):
            for names in groups.values():
                # The exact posterior does not depend on the seed.
                yield from (
                    (seed, name) for name in names if number == 0 or self.settings.chosen[name].decide != "bayes"
                )

    def _path(self, name: str, seed: int) -> Path:
        arm, settings = self.settings.chosen[name], self.settings
        encoder = replace(settings.encoder_of(arm), trainer={}) if arm.fits_encoder else None
        decoder = replace(settings.decoder_of(arm), trainer={}, obedience_every=None) if arm.reads_decoder else None
        state = fingerprint(
            MEASURED,
            replace(arm, title="", note="", group="decoder", encoder={}, decoder={}, same_start=False, role=None),
            encoder,
            decoder,
            self._rows,
            self._synthetic if arm.synthetic else None,
            (settings.data.validation_share, settings.data.columns, settings.budget, settings.test_rows),
            settings.outputs,
            seed,
            *self._further(encoder=encoder, decoder=decoder),
        )
        return self.output / RUNS / f"{name}-{seed}-{state[:12]}.json"

    def _further(self, **stages: EncoderSettings | DecoderSettings | None) -> list[Any]:
        """Inputs of a run that most ablations lack; theirs keep the names that earlier versions gave them."""
        read = {name: self._base_contents[stage.base] for name, stage in stages.items() if stage is not None}
        given = {**self._labels, **{name: contents for name, contents in read.items() if contents}}
        return [given] if given else []

    def read_finished(self) -> None:
        for seed, name in self._all():
            path = self._path(name, seed)
            if path.exists():
                self.runs[name][seed] = _read_run(path)

    def check_same_start(self) -> None:
        """Warn about arms that claim the baseline's terms and did not have them."""
        base = self.runs.get(self.settings.compared_with, {})
        claiming = [name for name, arm in self.settings.chosen.items() if arm.same_start]
        for name, seed in ((name, seed) for name in claiming for seed in base if seed in self.runs[name]):
            if unequal := unequal_terms(self.runs[name][seed], base[seed]):
                log.warning("%s, seed %d: not on the baseline's terms: %s", name, seed, ", ".join(unequal))


def _read_run(path: Path) -> dict[str, Any]:
    return read_artefact(path, FinishedRun, remedy="remove it to repeat the run").plain()


def unequal_terms(run: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The differences in the clean training of two runs: initial weights, rows and their order, number of tokens."""
    pairs = {
        "first weights": (run["start"], other["start"]),
        "rows and order": (run["order"], other["order"]),
        "tokens": (run["metrics"]["clean_tokens"], other["metrics"]["clean_tokens"]),
    }
    return [name for name, (own, its) in pairs.items() if own != its]


def _possible(settings: AblationSettings) -> list[str]:
    """The arms that can be run with the given data; the names of the others are logged."""
    lacking = {name: f"it needs {need}" for name, arm in settings.chosen.items() for need in _needs(arm, settings)}
    for name, reason in lacking.items():
        log.warning("the arm %s is left out: %s", name, reason)
    return [name for name in settings.chosen if name not in lacking]


def _needs(arm: ArmSettings, settings: AblationSettings) -> Sequence[str]:
    needs = []
    if arm.synthetic and settings.data.synthetic is None:
        needs.append("synthetic rows: make them with `unskew synthesise`, name them with --data.synthetic")
    if arm.decide == "bayes" and settings.newsroom is None:
        needs.append("--newsroom, the newsroom.json beside the rows")
    return needs
