"""The phases of a fit, one after another, each in a folder named after everything that its weights depend on.

Knows runs, folders and records; knows no model and no loss.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning
from lightning.pytorch.callbacks import Callback

from ..common import fingerprint
from ..corpus import Record, StoredRecords
from .data import PhaseData
from .runner import RunOptions, callbacks_of, run
from .settings import PhaseSettings

log = logging.getLogger("unskew")

# Optimiser steps under which a phase learns little: from scratch, 2,030 short rows in 17 steps a pass and 102 in all
# reached a macro-F1 of 0.606, and 0.837 in four times as many.
FEW_A_PASS, FEW = 20, 120


@dataclass
class Phases:
    """The phases of one fit: shared options, and the fingerprint of everything that the next phase depends on.

    A finished phase is not run again, and a changed input gets a new folder. A dependency that is added late
    (`depend_on`) does not change the folders of earlier phases, so fits that differ only in it share them.

    Attributes:
        stage: Name of the fit in the log: "encoder" or "decoder".
        folder: Folder with a folder for each phase.
        seed: Random seed of weights, order and dropout.
        monitor: Validation metric that decides which weights are best.
        mode: Whether `monitor` should be large or small.
        trainer: Further arguments of `lightning.Trainer`.
        state: Fingerprint so far, 64 hex digits.
    """

    stage: str
    folder: Path
    seed: int
    monitor: str
    mode: Literal["min", "max"]
    trainer: dict[str, Any]
    state: str

    def depend_on(self, *parts: Any) -> None:
        """Make every later phase's folder depend on these values too (JSON values, dataclasses or paths)."""
        self.state = fingerprint(self.state, *parts)

    def run(
        self,
        name: str,
        settings: PhaseSettings,
        module: lightning.LightningModule,
        data: PhaseData[Any],
        callbacks: Sequence[Callback] = (),
    ) -> Path:
        """Train `module` to its best validated weights, or load those of an earlier run. Returns the phase's folder."""
        data.limit(settings.max_steps, settings.most_tokens)
        full_name = f"{self.stage}, {name}"
        ours = [*callbacks_of(self.trainer), *callbacks, _WarnOfFewSteps(full_name)]
        options = RunOptions(
            folder=self.folder / f"{name}-{self.state[:12]}",
            name=full_name,
            epochs=settings.epochs or 0,
            seed=self.seed,
            monitor=self.monitor,
            mode=self.mode,
            patience=settings.patience,
            checkpoint_minutes=settings.checkpoint_minutes,
            trainer={**self.trainer, "callbacks": ours},
        )
        metrics = run(module, data, options)
        log.info("%s: best %s %.3f", options.name, self.monitor.removeprefix("validation/"), metrics[self.monitor])
        return options.folder


def record_contents(records: Sequence[Record], *, targets: bool) -> str | list[list[str | None]]:
    """The parts of records that training reads, for a fingerprint: text, topic, paraphrases, and targets if `targets`.

    Records on disk already have a fingerprint.
    """
    if isinstance(records, StoredRecords):
        return records.state
    named = {record.paraphrase_of for record in records}  # ids count only if a paraphrase names them
    return [
        [
            r.text,
            r.topic,
            *([r.target] if targets else []),
            r.paraphrase_of,
            r.id if r.id in named else None,
            *([str(r.weight)] if r.weight != 1 else []),
        ]
        for r in records
    ]


class _WarnOfFewSteps(Callback):
    """Warns if the phase has few steps because its batches are large, and not because it was limited."""

    def __init__(self, name: str) -> None:
        self._name = name

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        data: PhaseData[Any] = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        a_pass = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        steps = a_pass * (trainer.max_epochs or 0)
        if data.most_steps is None and a_pass < FEW_A_PASS and steps < FEW:
            log.warning(
                "%s: only %d steps a pass over the rows and %d in all, in which little may be learnt: give a smaller "
                "tokens_per_batch (it is %d), or more epochs",
                self._name, a_pass, steps, data.tokens_per_batch,
            )  # fmt: skip
