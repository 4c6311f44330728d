"""How obedience grows while a decoder trains: a small sample, measured every so many steps. Knows Lightning's hooks."""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from ..common import replacing_file
from .judges import FrameJudge, TopicJudge
from .obedience import Trial, measure_obedience
from .topic_decoder import TopicDecoder

FILE = "obedience.csv"


class ObedienceCurve(Callback):
    """Writes obedience.csv into the run's folder, and obedience.png where matplotlib is installed.

    Args:
        decoder: Over the model that is trained.
        trial: Texts and topics, a few of them: every measurement writes under all.
        judge: Judge of the outputs.
        every: Steps between measurements; one comes before the first step. Nothing is measured with several processes.
    """

    def __init__(self, decoder: TopicDecoder, trial: Trial, judge: TopicJudge | FrameJudge, every: int) -> None:
        self._decoder, self._trial, self._judge, self._every = decoder, trial, judge, every
        self.measured: list[dict[str, float]] = []

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Measure what there is before the first step, or before a resumed one."""
        if not self.measured:
            self._measure(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure after every so many steps."""
        if trainer.global_step % self._every == 0 and trainer.global_step != self.measured[-1]["step"]:
            self._measure(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """What was measured so far, for a checkpoint."""
        return {"measured": self.measured}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.measured = state_dict["measured"]

    def _measure(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.world_size > 1:  # the others would wait for this one, or it for weights that they hold
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
