"""A callback that measures obedience on a small sample during training. Knows Lightning's hooks and its two files."""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from ..common import replacing_file
from .judges import FrameJudge, TopicJudge
from .obedience import ObedienceTrial, measure_obedience
from .topic_decoder import TopicDecoder

FILE = "obedience.csv"


class ObedienceCurve(Callback):
    """Writes obedience.csv into the run's folder, and obedience.png if matplotlib is installed.

    Args:
        decoder: Decoder around the model in training.
        trial: Texts and topics; few, because every measurement generates all outputs.
        judge: Judge of the outputs.
        every: Steps between measurements; the first is before training. Nothing is measured with several processes.
    """

    def __init__(
        self, decoder: TopicDecoder, trial: ObedienceTrial, judge: TopicJudge | FrameJudge, every: int
    ) -> None:
        self._decoder, self._trial, self._judge, self._every = decoder, trial, judge, every
        self.measured: list[dict[str, float]] = []

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Measure before the first step, or before the first step of a resumed run."""
        if not self.measured:
            self._measure(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure if it is due."""
        last = self.measured[-1]["step"] if self.measured else None
        if trainer.global_step % self._every == 0 and trainer.global_step != last:
            self._measure(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The measurements so far, for a checkpoint."""
        return {"measured": self.measured}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the measurements from a checkpoint."""
        self.measured = state_dict["measured"]

    def _measure(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.world_size > 1:  # other processes would wait for this one, or have some of the weights it needs
            return
        pl_module.eval()
        found = measure_obedience(self._decoder, self._trial, self._judge)
        pl_module.train()
        if found is None:
            return
        self.measured.append({"step": trainer.global_step, **asdict(found)})
        folder = Path(trainer.default_root_dir)
        with replacing_file(folder / FILE) as file:
            writer = csv.DictWriter(file, list(self.measured[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.measured)
        _draw(self.measured, folder / "obedience.png")


def _draw(measured: list[dict[str, float]], path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    steps = [row["step"] for row in measured]
    for name, title, colour in (("right", "right topic", "#999999"), ("wrong", "wrong topic", "#3366aa")):
        axes.plot(steps, [row[name] for row in measured], marker=".", color=colour, label=title)
    axes.axhline(measured[0]["ignoring"], color="#cc6633", linestyle=":", label="wrong topic, if it were ignored")
    axes.set(title="Outputs that follow the topic given", xlabel="step", ylabel="share", ylim=(0, 1.02))
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
