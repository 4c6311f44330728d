"""What a user chooses about the encoder. Knows the settings of its parts; builds nothing."""

from dataclasses import dataclass, field, replace
from typing import Any

from ..balance import LossSettings
from ..common import UserError
from ..training import PhaseSettings, ScratchSettings, too_fast

HIGHEST_BASE_RATE = 5e-4
# What phases are unless given. From scratch a small model bears, and needs, rates that would wipe out a pretrained one.
SCRATCH = {
    "noisy": PhaseSettings(epochs=3, learning_rate=4e-3),
    "head": PhaseSettings(epochs=0, learning_rate=1e-3),
    "clean": PhaseSettings(epochs=6, learning_rate=1e-3),
}
BASE = SCRATCH | {
    "noisy": PhaseSettings(epochs=1, learning_rate=5e-5),
    "clean": PhaseSettings(epochs=5, learning_rate=1e-4),
}
NOISY_LOSS = LossSettings("generalised_cross_entropy", weights="effective_number", q=0.5)


@dataclass(frozen=True)
class EncoderSettings:
    """How the topic classifier is made. The phases run in the order noisy, head, clean; one of 0 epochs is left out.

    Attributes:
        base: Hub id or local folder of a model to start from; None builds a small one from scratch.
        scratch: Size of the model from scratch.
        max_tokens: Texts are read up to this many tokens, the model's own marks included.
        tokens_per_batch: Budget of padded tokens of a training batch; `trainer.accumulate_grad_batches` multiplies it.
        noisy: Warm-up on the noisy set, where there is one; unless given 1 epoch at 5e-5 of a `base`, 3 at 4e-3 from
            scratch.
        noisy_loss: Its loss; unless given one that wrong topics pull little, generalised cross-entropy with q 0.5 and
            weights effective_number.
        head: Training of the classification head on a frozen body, over the clean set; left out unless given.
        head_loss: Its loss; balanced, whatever the last phase uses.
        clean: Fine-tuning of everything on the clean set; unless given 5 epochs at 1e-4 of a `base`, 6 at
            1e-3 from scratch.
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
    noisy: PhaseSettings = PhaseSettings()
    noisy_loss: LossSettings | None = None
    head: PhaseSettings = PhaseSettings()
    head_loss: LossSettings = LossSettings()
    clean: PhaseSettings = PhaseSettings()
    loss: LossSettings = LossSettings()
    layer_decay: float = 1.0
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
        if not 0 < self.layer_decay <= 1:
            problems.append(f"layer_decay is {self.layer_decay}, must lie above 0 and at most 1")
        if self.sampling_ratio is not None and self.sampling_ratio < 1:
            problems.append(f"sampling_ratio is {self.sampling_ratio}, must be 1 or more, or null")
        if self.clean.is_left_out and not self.head.epochs:
            problems.append("head.epochs and clean.epochs are both 0, so nothing would learn from the clean set")
        phases = {"noisy": self.noisy, "clean": self.clean}
        return problems + too_fast(self.base, phases, HIGHEST_BASE_RATE, "2e-5 to 2e-4")

    def resolved(self) -> "EncoderSettings":
        """With what was left open filled in as suits the base, or the model from scratch."""
        usual = SCRATCH if self.base is None else BASE
        phases = {name: getattr(self, name).resolved(phase) for name, phase in usual.items()}
        return replace(self, noisy_loss=self.noisy_loss or NOISY_LOSS, **phases)
