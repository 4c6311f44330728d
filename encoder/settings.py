"""What a user chooses about the encoder. Knows the settings of its parts; builds nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..balance import LossSettings
from ..common import UserError
from ..training import PhaseSettings, ScratchSettings

# From scratch a small model bears, and needs, rates that would wipe out a pretrained one.
SCRATCH_NOISY = PhaseSettings(epochs=3, learning_rate=4e-3)
SCRATCH_CLEAN = PhaseSettings(epochs=6, learning_rate=1e-3)
BASE_NOISY = PhaseSettings(epochs=1, learning_rate=5e-5)
BASE_CLEAN = PhaseSettings(epochs=5, learning_rate=1e-4)
HIGHEST_BASE_RATE = 5e-4  # under both rates above, so that one kept by mistake is noticed


@dataclass(frozen=True)
class EncoderSettings:
    """How the topic classifier is made. The phases run in the order noisy, head, clean; one of 0 epochs is left out.

    Attributes:
        base: Hub id or local folder of a model to start from; None builds a small one from scratch.
        scratch: Size of the model from scratch.
        max_tokens: Texts are read up to this many tokens, the model's own marks included.
        tokens_per_batch: Budget of padded tokens of a training batch; `trainer.accumulate_grad_batches` multiplies it.
        noisy: Warm-up on the noisy set, where there is one. Untouched defaults on a `base`: 1 epoch at 5e-5.
        noisy_loss: Its loss; by default one that wrong topics pull little.
        head: Training of the classification head on a frozen body, over the clean set.
        head_loss: Its loss; balanced, whatever the last phase uses.
        clean: Fine-tuning of everything on the clean set. Untouched defaults on a `base`: 5 epochs at 1e-4.
        loss: Its loss.
        layer_decay: In noisy and clean, each layer's learning rate is this factor times that of the layer above it.
        sampling_ratio: Largest over smallest topic in an epoch of the clean set after tempered over- and
            undersampling; None samples the set as it is.
        trainer: Arguments of `lightning.Trainer`: accelerator, devices, strategy, precision, ...
    """

    base: str | None = None
    scratch: ScratchSettings = ScratchSettings(layers=1, width=64, heads=2)
    max_tokens: int = 256
    tokens_per_batch: int = 4096
    noisy: PhaseSettings = SCRATCH_NOISY
    noisy_loss: LossSettings = LossSettings("generalised_cross_entropy", weights="effective_number", q=0.5)
    head: PhaseSettings = PhaseSettings(epochs=0, learning_rate=1e-3)
    head_loss: LossSettings = LossSettings()
    clean: PhaseSettings = SCRATCH_CLEAN
    loss: LossSettings = LossSettings()
    layer_decay: float = 1.0
    sampling_ratio: float | None = None
    trainer: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.base is not None:
            if self.noisy == SCRATCH_NOISY:
                object.__setattr__(self, "noisy", BASE_NOISY)
            if self.clean == SCRATCH_CLEAN:
                object.__setattr__(self, "clean", BASE_CLEAN)
        problems = self._problems()
        if problems:
            raise UserError("encoder: " + "; ".join(problems))

    def _problems(self) -> list[str]:
        problems = []
        if self.max_tokens < 8:
            problems.append(f"max_tokens is {self.max_tokens}, must be at least 8")
        if self.tokens_per_batch < 1:
            problems.append(f"tokens_per_batch is {self.tokens_per_batch}, must be positive")
        if not 0 < self.layer_decay <= 1:
            problems.append(f"layer_decay is {self.layer_decay}, must lie above 0 and at most 1")
        if self.sampling_ratio is not None and self.sampling_ratio < 1:
            problems.append(f"sampling_ratio is {self.sampling_ratio}, must be 1 or more, or null")
        if not (self.clean.epochs or self.head.epochs):
            problems.append("head.epochs and clean.epochs are both 0, so nothing would learn from the clean set")
        if self.base is not None:
            problems += [
                f"{name}.learning_rate is {phase.learning_rate}, too high for the pretrained {self.base}: "
                f"give at most {HIGHEST_BASE_RATE}, commonly 2e-5 to 2e-4"
                for name, phase in (("noisy", self.noisy), ("clean", self.clean))
                if phase.epochs and phase.learning_rate > HIGHEST_BASE_RATE
            ]
        return problems
