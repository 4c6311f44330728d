"""The phases of a fit, one after another, each in a folder named after all that its weights depend on.

Knows runs, folders and records; knows no model and no loss.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning
from lightning.pytorch.callbacks import Callback

from ..common import fingerprint
from ..corpus import Record, StoredRecords
from .data import PhaseData
from .runner import RunOptions, run
from .settings import PhaseSettings

log = logging.getLogger("unskew")


@dataclass
class Phases:
    """One fit's phases: what they share, and the fingerprint of all that the next one's weights depend on.

    A finished phase is not run again, and a changed input makes a new folder rather than a wrong reuse. A dependency
    that is added late (`depend_on`) leaves the folders of the phases before it alone, so that fits which differ in it
    share them.

    Attributes:
        stage: What the log calls the fit: "encoder", "decoder".
        folder: Holds a folder for each phase.
        seed: Random seed of weights, order and dropout.
        monitor: The validation measure that decides which weights are best.
        mode: Whether `monitor` is to be large or small.
        trainer: Further arguments of `lightning.Trainer`.
        state: 64 hex digits.
    """

    stage: str
    folder: Path
    seed: int
    monitor: str
    mode: Literal["min", "max"]
    trainer: dict[str, Any]
    state: str

    def depend_on(self, *parts: Any) -> None:
        """Let every later phase's folder depend on these values too (JSON-able, dataclasses or paths)."""
        self.state = fingerprint(self.state, *parts)

    def run(
        self,
        name: str,
        settings: PhaseSettings,
        module: lightning.LightningModule,
        data: PhaseData[Any],
        callbacks: Sequence[Callback] = (),
    ) -> Path:
        """Train `module` to its best validated weights, or load those of an earlier run; returns the phase's folder."""
        data.limit(settings.max_steps, settings.most_tokens)
        given = {**self.trainer, "callbacks": [*self.trainer.get("callbacks", ()), *callbacks]}
        options = RunOptions(
            folder=self.folder / f"{name}-{self.state[:12]}",
            name=f"{self.stage}, {name}",
            epochs=settings.epochs or 0,
            seed=self.seed,
            monitor=self.monitor,
            mode=self.mode,
            patience=settings.patience,
            checkpoint_minutes=settings.checkpoint_minutes,
            trainer=given,
        )
        measures = run(module, data, options)
        log.info("%s: best %s %.3f", options.name, self.monitor.removeprefix("validation/"), measures[self.monitor])
        return options.folder


def record_contents(records: Sequence[Record], *, targets: bool) -> str | list[list[str | None]]:
    """What training reads of records, for a fingerprint: text, topic, with `targets` the target, and paraphrases.

    Records on disk have a fingerprint already.
    """
    if isinstance(records, StoredRecords):
        return records.state
    named = {record.paraphrase_of for record in records}  # ids count only where a paraphrase names one
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
