"""Settings of the encoder. Knows the settings of its parts; builds nothing."""

from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Literal, get_args

from ..balance import CalibrationKind, LossSettings
from ..common import UserError
from ..training import PhaseSettings, ScratchSettings, learning_rate_problems

HIGHEST_BASE_RATE = 5e-4
# Defaults of the phases. A small model from scratch needs learning rates that would ruin a pretrained one.
SCRATCH = {
    "noisy": PhaseSettings(epochs=3, learning_rate=4e-3),
    "head": PhaseSettings(epochs=0, learning_rate=1e-3),
    "clean": PhaseSettings(epochs=6, learning_rate=1e-3),
}
BASE = SCRATCH | {
    "noisy": PhaseSettings(epochs=1, learning_rate=5e-5),
    "clean": PhaseSettings(epochs=5, learning_rate=1e-4),
}
TUNED = {"clean": PhaseSettings(epochs=2, learning_rate=1e-4)}
NOISY_LOSS = LossSettings("generalised_cross_entropy", weights="effective_number", q=0.5)

Recipe = Literal["tuned", "probe", "phases"]
_OF_PHASES = ("noisy", "noisy_loss", "head", "head_loss", "loss", "sampling_ratio")
_OF_TUNED = ("rows_per_batch", "max_steps")
_STOPS = ("clean.patience", "clean.max_steps", "clean.max_tokens")
_PACE = ("clean.epochs", "clean.learning_rate", "clean.warmup_share", "clean.weight_decay")
# Settings without effect, by recipe.
UNUSED: dict[str, tuple[str, ...]] = {
    "tuned": (*_OF_PHASES, *_STOPS),
    "probe": (*_OF_PHASES, *_STOPS, *_OF_TUNED, *_PACE, "layer_decay", "tokens_per_batch"),
    "phases": (*_OF_TUNED, "names"),
}


@dataclass(frozen=True)
class EncoderSettings:
    """How the topic classifier is built and trained.

    Attributes:
        base: Hub id or local folder of a pretrained model; None builds a small one from scratch.
        recipe: Way to train. "probe" fits a linear head on the frozen base, in about a pass over the texts; "tuned"
            (default with a `base`) fine-tunes from there and keeps what is better on held-out rows; "phases" (default
            from scratch) trains in the order noisy, head, clean.
        names: Whether topic names are rows too, unless that hurts (not in phases).
        scratch: Size of the model from scratch.
        max_tokens: Most tokens of a text that are read, special tokens included.
        tokens_per_batch: Padded tokens in a training batch, before `accumulate_grad_batches`.
        rows_per_batch: Most rows in a training batch of "tuned"; small batches mean many steps.
        max_steps: Most training steps of "tuned", though at least one pass over the rows.
        noisy: Warm-up of "phases" on the noisy set, if there is one. By default 1 epoch at 5e-5 with a `base`, 3 at
            4e-3 from scratch.
        noisy_loss: Loss of the warm-up. By default generalised cross-entropy with q 0.5 and weights effective_number,
            which wrong topics affect little.
        head: Training of the head in "phases", on a frozen body and the clean set; default none.
        head_loss: Loss of that head training; balanced, whatever the last phase uses.
        clean: Fine-tuning of everything on the clean set. By default 2 epochs at 1e-4 for "tuned"; for "phases" 5 at
            1e-4 with a `base`, 6 at 1e-3 from scratch. Its patience, max_steps and max_tokens are for "phases" alone.
        loss: Loss of that fine-tuning, in "phases".
        layer_decay: Learning rate of each layer in noisy and clean, relative to the layer above it; by default 0.9 for
            "tuned", 1 for "phases".
        sampling_ratio: Largest over smallest topic in an epoch of the clean set in "phases", after tempered over- and
            undersampling; None takes the set as it is.
        trainer: Arguments of `lightning.Trainer`: accelerator, devices, strategy, precision, ...
    """

    base: str | None = None
    recipe: Recipe | None = None
    names: bool = True
    scratch: ScratchSettings = ScratchSettings(layers=1, width=64, heads=2)
    max_tokens: int = 256
    tokens_per_batch: int = 4096
    rows_per_batch: int = 16
    max_steps: int = 600
    noisy: PhaseSettings = PhaseSettings()
    noisy_loss: LossSettings | None = None
    head: PhaseSettings = PhaseSettings()
    head_loss: LossSettings = LossSettings()
    clean: PhaseSettings = PhaseSettings()
    loss: LossSettings = LossSettings()
    layer_decay: float | None = None
    sampling_ratio: float | None = None
    trainer: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = self._problems()
        if problems:
            raise UserError("encoder: " + "; ".join(problems))

    def _problems(self) -> list[str]:
        problems = []
        if self.max_tokens < 8:
            problems.append(f"max_tokens is {self.max_tokens}, must be at least 8")
        if self.tokens_per_batch < 1:
            problems.append(f"tokens_per_batch is {self.tokens_per_batch}, must be positive")
        if self.rows_per_batch < 1 or self.max_steps < 1:
            problems.append("rows_per_batch and max_steps must be positive")
        if self.recipe not in (None, *get_args(Recipe)):
            problems.append(f"recipe is {self.recipe!r}, must be one of {', '.join(get_args(Recipe))}")
        if self.base is None and self.recipe in ("probe", "tuned"):
            problems.append(f"recipe {self.recipe} needs a pretrained base; give encoder.base, or recipe phases")
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            problems.append(f"layer_decay is {self.layer_decay}, must be above 0 and at most 1")
        if self.sampling_ratio is not None and self.sampling_ratio < 1:
            problems.append(f"sampling_ratio is {self.sampling_ratio}, must be 1 or more, or null")
        phases = {} if self.recipe_in_force == "probe" else {"noisy": self.noisy, "clean": self.clean}
        return (
            problems
            + self._without_training()
            + self._without_meaning()
            + learning_rate_problems(self.base, phases, HIGHEST_BASE_RATE, "2e-5 to 2e-4")
        )

    def _without_training(self) -> list[str]:
        """That nothing would learn from the clean set; a probe has no epochs."""
        if not self.clean.is_left_out or self.recipe_in_force == "probe":
            return []
        if self.recipe_in_force == "tuned":
            return ["clean.epochs is 0, but recipe tuned fine-tunes; give at least 1, or recipe probe without it"]
        if self.head.epochs:
            return []
        return [
            "head.epochs and clean.epochs are both 0; give one of them, because nothing would learn from the clean set"
        ]

    def _without_meaning(self) -> list[str]:
        """Names of given settings that other recipes have, but not this one."""
        recipe = self.recipe_in_force
        return [
            f"{name} has no effect with recipe {recipe}; leave it out, or give recipe "
            + " or ".join(other for other in get_args(Recipe) if name not in UNUSED[other])
            for name in UNUSED.get(recipe, ())
            if attrgetter(name)(self) != attrgetter(name)(EncoderSettings)
        ]

    @property
    def recipe_in_force(self) -> Recipe:
        """The recipe given, or the default for the base."""
        return self.recipe or ("phases" if self.base is None else "tuned")

    def usual_calibration(self, apart: bool) -> CalibrationKind:
        """The default kind of calibration.

        On rows given `apart`, and in phases, it is a map that is kept if it helps. Rows that "tuned" and "probe" hold
        out by themselves have already set a scale, so nothing more is fitted on them.
        """
        return "bias_corrected_temperature" if apart or self.recipe_in_force == "phases" else "none"

    def by_phases(self) -> "EncoderSettings":
        """These settings for the recipe "phases", without those that have no effect there."""
        return replace(self, recipe="phases", **{name: getattr(EncoderSettings, name) for name in UNUSED["phases"]})

    def resolved(self) -> "EncoderSettings":
        """These settings, with defaults for the base and the recipe filled in."""
        recipe = self.recipe_in_force
        if recipe == "probe":
            return replace(self, recipe=recipe)
        usual = SCRATCH if self.base is None else BASE if recipe == "phases" else TUNED
        phases = {name: getattr(self, name).resolved(phase) for name, phase in usual.items()}
        if recipe == "phases":
            phases["noisy_loss"] = self.noisy_loss or NOISY_LOSS
        decay = self.layer_decay or (1.0 if recipe == "phases" else 0.9)
        return replace(self, recipe=recipe, layer_decay=decay, **phases)
