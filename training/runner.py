"""Runs a Lightning module to its best weights, resumably. Knows Lightning and a folder; not what is trained.

An interrupted run resumes at its last checkpoint, also inside an epoch. The batches and the random state of a step
depend only on the seed and the step, so it ends with the weights of an uninterrupted run.
"""

import copy
import json
import logging
import sys
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar

from ..common import UserError, check_disk, write_text
from ..runtime import is_slow_bfloat16
from . import sharding
from .checkpoints import AtomicCheckpoints, EpochParts
from .divergence import StopAtDivergence
from .loggers import make_logger
from .phase import checkpoint_bytes
from .settings import CHECKPOINT_MINUTES, LoggerName

log = logging.getLogger("unskew")

_noted: ContextVar[list[Path] | None] = ContextVar("noted", default=None)

# A run keeps the weights of its best validated epoch. With these there might be none, or validation on some rows only.
_FIXED = (
    *("max_steps", "fast_dev_run", "barebones", "enable_checkpointing"),
    *("limit_val_batches", "overfit_batches", "check_val_every_n_epoch", "val_check_interval"),
)


@dataclass(frozen=True)
class RunOptions:
    """The options of a run besides its module and data.

    Attributes:
        folder: Folder of checkpoints, logs and, once the run has ended, `done.json`.
        name: Name in the progress bar and log lines.
        epochs: Most epochs.
        seed: Random seed.
        monitor: Validation metric that decides which weights are best; None takes the last and validates nothing.
        mode: Whether `monitor` should be large or small.
        patience: Epochs without improvement before the run stops.
        trainer: Further arguments of `lightning.Trainer` (accelerator, devices, strategy, precision, ...); the strategy
            "fsdp" is FSDP2, see `sharding`.
        checkpoint_minutes: Minutes between checkpoints inside an epoch, which is the most that a kill costs.
    """

    folder: Path
    name: str
    epochs: int
    seed: int
    monitor: str | None = None
    mode: Literal["min", "max"] = "min"
    patience: int = 3
    trainer: Mapping[str, Any] = field(default_factory=dict)
    checkpoint_minutes: float = CHECKPOINT_MINUTES


def run(
    module: lightning.LightningModule, data: lightning.LightningDataModule, options: RunOptions
) -> dict[str, float]:
    """Train `module` to its best validated weights, resuming at the last checkpoint in `options.folder`.

    A run that has already ended is not repeated; its weights are loaded.

    Returns: The validation metrics of the best epoch.

    Raises:
        UserError: If training diverges, `options.trainer` does not fit, or the disk has no room for the checkpoints.
    """
    _note(options.folder)
    done = options.folder / "done.json"
    best = options.folder / "checkpoints" / "best.ckpt"
    ended = done.exists() and best.exists()
    trainer = None if ended else _fit(module, data, options)
    checkpoint = torch.load(best, map_location="cpu", weights_only=True)
    module.load_state_dict(checkpoint["state_dict"], strict=False)
    metrics = next(filter(None, map(_best_metrics, checkpoint["callbacks"].values())))
    if trainer is not None and trainer.is_global_zero:
        write_text(done, json.dumps({"best_epoch": checkpoint["epoch"] + 1, "metrics": metrics}) + "\n")
        _last(options).unlink(missing_ok=True)  # the larger of the two, with the optimiser's state
    return metrics


@contextmanager
def record_runs() -> Generator[list[Path]]:
    """A list to which every `run` in the block adds its folder, in order, even if the run had already ended."""
    folders: list[Path] = []
    token = _noted.set(folders)
    try:
        yield folders
    finally:
        _noted.reset(token)


def _note(folder: Path) -> None:
    """Add a run's folder to the lists of `record_runs`."""
    folders = _noted.get()
    if folders is not None:
        folders.append(folder)


def _fit(
    module: lightning.LightningModule, data: lightning.LightningDataModule, options: RunOptions
) -> lightning.Trainer:
    if options.trainer.get("strategy") == sharding.NAME:
        module = copy.deepcopy(module)  # a sharded module stays sharded; the best weights are loaded into the original
    last = _last(options)
    if last.exists():
        log.info("%s: resuming from the last checkpoint", options.name)
    else:
        check_disk(options.folder, checkpoint_bytes(module))
    trainer = _make_trainer(options)
    if is_slow_bfloat16(trainer.precision, trainer.strategy.root_device):
        log.warning(
            "%s: this processor has no instructions for bfloat16, so precision %s is many times slower than float32; "
            "leave it out of the trainer options",
            options.name,
            trainer.precision,
        )
    try:
        with warnings.catch_warnings():
            # The sampler resumes inside an epoch, not the loader, where Lightning looks.
            warnings.filterwarnings("ignore", ".*your dataloader is not resumable")
            trainer.fit(module, data, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    except SystemExit:
        if trainer.interrupted:  # Lightning would end the process; here the caller decides
            raise KeyboardInterrupt from None
        raise
    return trainer


def callbacks_of(trainer: Mapping[str, Any]) -> list[Callback]:
    """The `callbacks` among arguments of `lightning.Trainer`, which may be one, several or None."""
    given = trainer.get("callbacks") or []
    return [given] if isinstance(given, Callback) else list(given)


def check_trainer(name: str, trainer: Mapping[str, Any], folder: Path) -> None:
    """Refuse arguments of `lightning.Trainer` that cannot work, before hours of other work.

    Args:
        name: Name of the stage, for the message.
        trainer: Arguments of `lightning.Trainer`.
        folder: Folder that checkpoints would go to; nothing is written.

    Raises:
        UserError: If the arguments do not fit this machine or each other.
    """
    others = {option: value for option, value in trainer.items() if option != "logger"}
    _make_trainer(RunOptions(folder, name, 1, 0, trainer=others))


def _last(options: RunOptions) -> Path:
    return options.folder / "checkpoints" / "last.ckpt"


def _make_trainer(options: RunOptions) -> lightning.Trainer:
    terminal = sys.stderr.isatty()
    given = dict(options.trainer)
    if given.get("strategy") == sharding.NAME:
        given["strategy"] = sharding.ShardedStrategy()
    if isinstance(name := given.get("logger"), str):
        given["logger"] = make_logger(cast(LoggerName, name), options.folder, options.name)
    checkpoints: dict[str, Any] = {
        "dirpath": options.folder / "checkpoints",
        "save_on_train_epoch_end": True,
        "enable_version_counter": False,
    }
    callbacks: list[Callback] = [
        _Best(filename="best", monitor=options.monitor, mode=options.mode, **checkpoints),
        _Last(filename="last", **checkpoints),
        EpochParts(_last(options), options.checkpoint_minutes),
        *([_Patience(options.monitor, mode=options.mode, patience=options.patience)] if options.monitor else []),
        _ReseedEachStep(options.seed),
        StopAtDivergence(options.name),
        *([_Bar(options.name)] if terminal else []),
        _LogEachEpoch(options.name),
        *callbacks_of(given),
    ]
    defaults: dict[str, Any] = {
        "precision": "bf16-mixed" if _bf16(given.get("accelerator", "auto")) else "32-true",
        "logger": make_logger("csv", options.folder, options.name),
        "gradient_clip_val": 1.0,
        "num_sanity_val_steps": 0,
        "enable_model_summary": False,
        "log_every_n_steps": 20,
    }
    if options.monitor is None:
        defaults["limit_val_batches"] = 0
    ours: dict[str, Any] = {
        "max_epochs": options.epochs,
        "callbacks": callbacks,
        "enable_progress_bar": terminal,
        "default_root_dir": options.folder,
        "plugins": [AtomicCheckpoints()],
        "use_distributed_sampler": False,  # the batches are already divided among the ranks
        "reload_dataloaders_every_n_epochs": 1,  # the number of batches may differ between epochs
    }
    if taken := sorted({*ours, *_FIXED} & {*given} - {"callbacks"}):
        raise UserError(f"{options.name}: the trainer options {', '.join(taken)} are set by unskew; leave them out")
    try:
        return lightning.Trainer(**{**defaults, **given, **ours})
    except (TypeError, ValueError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise UserError(f"{options.name}: the trainer options {dict(options.trainer)} are invalid: {error}") from error


def _bf16(accelerator: str) -> bool:
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available() and torch.cuda.is_bf16_supported()


def _best_metrics(state: Mapping[str, Any]) -> dict[str, float] | None:
    """The metrics in a callback's state, if it has any; earlier versions call them `best_measures`."""
    return state.get("best_metrics") or state.get("best_measures")


class _Best(ModelCheckpoint):
    """Keeps the metrics of the best epoch beside its weights."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.best_metrics: dict[str, float] = {}

    def _save_checkpoint(self, trainer: lightning.Trainer, filepath: str) -> None:
        if Path(filepath).stem == "best":
            self.best_metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        super()._save_checkpoint(trainer, filepath)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "best_metrics": self.best_metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_metrics = _best_metrics(state_dict) or {}
        super().load_state_dict(state_dict)


class _Last(ModelCheckpoint):
    """Keeps the last epoch. Lightning refuses a user's `ModelCheckpoint` beside another of the same class."""


class _Patience(EarlyStopping):
    """Ends a run without improvement, likewise."""


class _ReseedEachStep(Callback):
    """Sets the random state before each batch, so that it does not depend on where a run was resumed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        place = batch_idx % trainer.accumulate_grad_batches * trainer.world_size + trainer.global_rank
        torch.manual_seed((self._seed * 1_000_003 + trainer.global_step) * 4099 + place)


class _Bar(RichProgressBar):
    """A progress bar for each epoch, removed at its end. The metrics stay as a log line."""

    def __init__(self, name: str) -> None:
        super().__init__(console_kwargs={"stderr": True})
        self._name = name

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if self.progress is not None:
            self.progress.live.transient = True

    def _get_train_description(self, current_epoch: int) -> str:
        # A private name of Lightning, which counts epochs from 0; the test on a terminal would catch a change.
        return f"{self._name}: epoch {current_epoch + 1} of {self.trainer.max_epochs}"

    def get_metrics(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> dict[str, Any]:
        """No metrics beside the bar, where Lightning would show the logger's version number."""
        return {}


class _LogEachEpoch(Callback):
    """Logs one plain line per epoch, above the bar on a terminal."""

    def __init__(self, name: str) -> None:
        self._name = name

    # Not at the end of validation, when the module has not logged its metrics yet.
    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        metrics = {
            name.removeprefix("validation/"): float(value)
            for name, value in trainer.callback_metrics.items()
            if "/" not in name.removeprefix("validation/")
        }
        line = "  ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        log.info("%s: epoch %d of %s  %s", self._name, trainer.current_epoch + 1, trainer.max_epochs, line)
