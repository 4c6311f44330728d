"""Settings of any training: length, speed, and the size of a model from scratch. Loads no library."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ..common import UserError

LoggerName = Literal["csv", "tensorboard", "mlflow", "wandb"]
CHECKPOINT_MINUTES = 10.0  # the default inside an epoch
MOST = {"layers": 1000, "width": 32_768, "heads": 1000, "vocabulary": 1_000_000}  # limits of a model from scratch
_UNITS = {"k": 10**3, "M": 10**6, "B": 10**9}


@dataclass(frozen=True)
class ScratchSettings:
    """Size of a model with random initial weights, for corpora too unusual or machines too small for a base.

    Attributes:
        layers: Number of transformer blocks.
        width: Hidden size; must be a multiple of `heads`.
        heads: Number of attention heads.
        vocabulary: Most tokens in its tokenizer, which is trained with it.
    """

    layers: int = 2
    width: int = 128
    heads: int = 4
    vocabulary: int = 4000

    def __post_init__(self) -> None:
        sizes = {"layers": self.layers, "width": self.width, "heads": self.heads}
        problems = [f"{name} is {size}, must be positive" for name, size in sizes.items() if size < 1]
        sizes["vocabulary"] = self.vocabulary
        problems += [
            f"{name} is {sizes[name]}, must be at most {most}" for name, most in MOST.items() if sizes[name] > most
        ]
        if not problems and self.width % (2 * self.heads):
            problems.append(f"width is {self.width}, must be an even multiple of heads ({self.heads})")
        if self.vocabulary < 300:
            problems.append(f"vocabulary is {self.vocabulary}, must be at least 300 (256 bytes and the special tokens)")
        if problems:
            raise UserError("scratch model: " + "; ".join(problems))


@dataclass(frozen=True)
class PhaseSettings:
    """How long and how fast a phase trains.

    Attributes:
        epochs: Most passes over the rows; 0 leaves the phase out. The default depends on the model.
        learning_rate: Peak learning rate of the schedule. The default depends on the model.
        warmup_share: Share of the steps with a rising rate, before it falls to 0; both linear.
        weight_decay: Decoupled weight decay (AdamW), on matrices only.
        patience: Epochs without improvement of the monitored metric before the phase stops.
        max_steps: Most optimiser steps; the last epoch is cut short there.
        max_tokens: Most tokens to read, by the mean of a step; 200M is 200 million.
        checkpoint_minutes: Minutes between checkpoints inside an epoch.
    """

    epochs: int | None = None
    learning_rate: float | None = None
    warmup_share: float = 0.1
    weight_decay: float = 0.01
    patience: int = 3
    max_steps: int | None = None
    max_tokens: int | str | None = None
    # Does not change weights, so it is not part of a phase's fingerprint.
    checkpoint_minutes: float = field(default=CHECKPOINT_MINUTES, compare=False)

    def __post_init__(self) -> None:
        problems = []
        if self.epochs is not None and self.epochs < 0:
            problems.append(f"epochs is {self.epochs}, must be 0 (leave out) or more")
        if self.learning_rate is not None and not self.learning_rate > 0:
            problems.append(f"learning_rate is {self.learning_rate}, must be positive")
        if not 0 <= self.warmup_share <= 1:
            problems.append(f"warmup_share is {self.warmup_share}, must be between 0 and 1")
        if not (self.weight_decay >= 0 and self.weight_decay * min(self.learning_rate or 0, 1) < 1):
            problems.append(f"weight_decay is {self.weight_decay}, must be from 0 to below 1 / learning_rate")
        if self.patience < 1:
            problems.append(f"patience is {self.patience}, must be at least 1")
        if not self.checkpoint_minutes >= 0:
            problems.append(f"checkpoint_minutes is {self.checkpoint_minutes}, must not be negative")
        if self.max_steps is not None and self.max_steps < 1:
            problems.append(f"max_steps is {self.max_steps}, must be positive; 0 epochs leave a phase out")
        try:
            object.__setattr__(self, "max_tokens", as_count(self.max_tokens))
        except ValueError:
            problems.append(
                f"max_tokens is {self.max_tokens!r}, must be a positive number such as 5000000, 200M or 1.5B"
            )
        if problems:
            raise UserError("training phase: " + "; ".join(problems))

    @property
    def rate(self) -> float:
        """The learning rate of resolved settings."""
        assert self.learning_rate is not None
        return self.learning_rate

    @property
    def most_tokens(self) -> int | None:
        """`max_tokens` as a number."""
        return as_count(self.max_tokens)

    @property
    def is_left_out(self) -> bool:
        """Whether the phase is left out."""
        return self.epochs == 0

    def resolved(self, usual: "PhaseSettings") -> "PhaseSettings":
        """These settings, with missing values taken from `usual`."""
        return replace(
            self,
            epochs=usual.epochs if self.epochs is None else self.epochs,
            learning_rate=usual.learning_rate if self.learning_rate is None else self.learning_rate,
        )


def as_count(value: int | str | None) -> int | None:
    """A positive whole number, also from texts like 200k, 200M or 1.5B; None stays None.

    Raises:
        ValueError: For anything else.
    """
    if value is None or isinstance(value, int):
        number = value
    else:
        factor = _UNITS.get(value[-1:], 1)
        number = float(value[:-1] if value[-1:] in _UNITS else value) * factor
    if number is not None and not (1 <= number < math.inf and number == int(number)):
        raise ValueError(value)
    return None if number is None else int(number)


def learning_rate_problems(
    base: str | None, phases: Mapping[str, PhaseSettings | None], highest: float, common: str
) -> list[str]:
    """A problem for each learning rate that would ruin a pretrained base; none without a base."""
    if base is None:
        return []
    return [
        f"{name}.learning_rate is {phase.learning_rate}, too high for the pretrained {base}: "
        f"give at most {highest}, commonly {common}"
        for name, phase in phases.items()
        if phase and phase.learning_rate is not None and not phase.is_left_out and phase.learning_rate > highest
    ]
