"""Settings of the decoder, checked. Knows no model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from ..balance import LossSettings
from ..common import UserError
from ..training import PhaseSettings, ScratchSettings, learning_rate_problems
from .templates import resolve_template

Adaptation = Literal["lora", "top_blocks", "full"]
Condition = Literal["token", "text", "both"]
Backend = Literal["torch", "vllm"]

# Defaults of the phases. A small model from scratch needs learning rates that would ruin a pretrained one.
SCRATCH_SIZE = ScratchSettings(layers=2, width=64, heads=4, vocabulary=4000)
SCRATCH = {
    "noisy": PhaseSettings(epochs=1, learning_rate=5e-3),
    "clean": PhaseSettings(epochs=3, learning_rate=4e-3),
    "rows_first": PhaseSettings(epochs=0, learning_rate=1e-2),
}
BASE = {
    "noisy": PhaseSettings(epochs=1),
    "clean": PhaseSettings(epochs=3),
    "rows_first": PhaseSettings(epochs=0, learning_rate=1e-2),
}
TEXT_SWAP, TOPIC_RATE = 0.25, 1e-2  # of a pretrained base, which would answer from the text alone
BALANCED_RATIO = 3.0  # largest ratio of topic frequencies in batches that count as balanced
HIGHEST_BASE_RATE = 2e-3
LORA_RATE, LORA_WIDTH = 2e-3, 576  # found on a base of that hidden size
MOST_NEW_TOKENS = 100_000  # tokens of an output; their memory is allocated before the first is generated
LEAST_TEMPERATURE = 1e-3  # below, logits divided by it lose the difference of the two largest
MOST_GUIDANCE = 10.0  # far above any useful value
MOST_SCALED = 1000  # largest alpha / rank; usual values are 1 and 2


def usual_rate(adaptation: Adaptation, width: int) -> float:
    """The learning rate for a pretrained base of a hidden size: measured at one width, carried over to others.

    It falls with the width to the power 0.781, and LoRA takes ten times the rate of the weights themselves (Schulman et
    al. 2025, "LoRA Without Regret", and the Tinker cookbook's `hyperparam_utils`, fitted on Llama models).
    """
    rate = LORA_RATE * min(1.0, (LORA_WIDTH / width) ** 0.781)
    return rate if adaptation == "lora" else rate / 10


@dataclass(frozen=True)
class DecoderSettings:
    """How the decoder is built and trained.

    Attributes:
        base: Hub id or local folder of a causal language model; None trains a small one from scratch first.
        scratch: Size of the model from scratch.
        prompt: "plain", "instruction", or your own template, which contains {text} once. "auto" is "instruction" for a
            `base`, and "plain" from scratch.
        max_tokens: Most tokens of prompt and text together; longer texts are cut.
        max_target_tokens: Most tokens of a target; longer targets are cut.
        adaptation: Weights of the base to train.
        rank: Rank of the LoRA matrices.
        alpha: Scale of LoRA: its update is multiplied by alpha / rank.
        dropout: Dropout on the inputs of the LoRA matrices.
        blocks: Number of last blocks that top_blocks trains.
        condition: Form of the topic; text is a line of the prompt.
        topic_rate: Learning rate of the control tokens' rows; by default 1e-2 with a `base`, else the phase's.
        topic_dropout: Share of training rows without their topic, which `guidance` needs.
        text_swap: Share of training texts that come again under a row of another topic, so that outputs follow the
            topic; by default 0.25 with a `base` that is given topics, 0 from scratch.
        rows_first: Training of the control tokens' rows alone, before everything else; by default none.
        obedience_every: Steps between measurements for obedience.csv and .png in the clean phase's folder.
        topic_loss: Loss that also trains the decoder to choose the topic (the baseline); default none.
        noisy_topic_loss: The same on the noisy set, so that this choice also learns from noisy topics, as the encoder
            does; None trains it on the clean set only.
        sampling_ratio: Largest over smallest topic in an epoch of the clean set, after tempered over- and
            undersampling; a repeated row lacks spans of its text. None takes each row once.
        fairness: Train `<force_fairness>`: half of the clean rows of an epoch keep natural frequencies; the others,
            sampled within `sampling_ratio` (at most 3, the default), have the token.
        noisy: Training on the noisy set; from scratch, of all weights, on the clean set if there is none. By default
            1 epoch, with a `base` at the rate of `clean`, from scratch at 5e-3.
        clean: Training of the adaptation on the clean set. By default 3 epochs; LoRA of a `base` at 2e-3 (wide ones
            less), its whole weights at a tenth of that, from scratch at 4e-3.
        tokens_per_batch: Padded tokens in a training batch.
        trainer: Arguments of `lightning.Trainer`.
    """

    base: str | None = None
    scratch: ScratchSettings = SCRATCH_SIZE
    prompt: str = "auto"
    max_tokens: int = 256
    max_target_tokens: int = 64
    adaptation: Adaptation = "lora"
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    blocks: int = 2
    condition: Condition = "token"
    topic_rate: float | None = None
    topic_dropout: float | None = None
    text_swap: float | None = None
    rows_first: PhaseSettings = PhaseSettings()
    obedience_every: int | None = None
    topic_loss: LossSettings | None = None
    noisy_topic_loss: LossSettings | None = None
    sampling_ratio: float | None = None
    fairness: bool = False
    noisy: PhaseSettings = PhaseSettings()
    clean: PhaseSettings = PhaseSettings()
    tokens_per_batch: int = 2048
    trainer: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes = ("max_tokens", "max_target_tokens", "rank", "alpha", "blocks", "tokens_per_batch")
        problems = [f"{name} is {getattr(self, name)}, must be positive" for name in sizes if getattr(self, name) < 1]
        if self.alpha > MOST_SCALED * self.rank:
            problems.append(f"alpha is {self.alpha}, must be at most {MOST_SCALED} times the rank of {self.rank}")
        if not 0 <= self.dropout < 1:
            problems.append(f"dropout is {self.dropout}, must be in [0, 1)")
        if self.adaptation not in ("lora", "top_blocks", "full"):
            problems.append(f"adaptation is {self.adaptation!r}, must be lora, top_blocks or full")
        if self.condition not in get_args(Condition):
            problems.append(f"condition is {self.condition!r}, must be token, text or both")
        if self.condition != "token" and (self.topic_loss or self.noisy_topic_loss):
            problems.append("topic_loss needs condition token, because a name in text has many tokens")
        problems += self._topic_problems()
        if self.sampling_ratio is not None and not 1 <= self.sampling_ratio < math.inf:
            problems.append(f"sampling_ratio is {self.sampling_ratio}, must be a number of at least 1")
        if self.fairness and self.sampling_ratio is not None and self.sampling_ratio > BALANCED_RATIO:
            problems.append(
                f"sampling_ratio is {self.sampling_ratio}, must be at most {BALANCED_RATIO:g} with fairness"
            )
        if self.clean.is_left_out:
            problems.append(f"clean.epochs is {self.clean.epochs}, must be positive")
        if self.base is None and self.noisy.is_left_out:
            problems.append(f"noisy.epochs is {self.noisy.epochs}, must be positive without a base")
        phases = {"noisy": self.noisy, "clean": self.clean}
        problems += learning_rate_problems(self.base, phases, HIGHEST_BASE_RATE, "2e-4 to 2e-3")
        try:
            resolve_template(self.prompt_in_force)
        except UserError as error:
            problems.append(str(error))
        if problems:
            raise UserError("decoder settings: " + "; ".join(problems))

    def _topic_problems(self) -> list[str]:
        problems = []
        if self.topic_rate is not None and not 0 < self.topic_rate < math.inf:
            problems.append(f"topic_rate is {self.topic_rate}, must be a positive number")
        if self.topic_dropout is not None and not 0 <= self.topic_dropout < 1:
            problems.append(f"topic_dropout is {self.topic_dropout}, must be in [0, 1)")
        if self.text_swap is not None and not 0 <= self.text_swap <= 1:
            problems.append(f"text_swap is {self.text_swap}, must be in [0, 1]")
        for name in ("topic_dropout", "text_swap"):
            if getattr(self, name) and not self.is_given_topics:
                problems.append(f"{name} is for a decoder that is given its topic; use it without topic_loss")
        if self.obedience_every is not None and self.obedience_every < 1:
            problems.append(f"obedience_every is {self.obedience_every}, must be positive")
        if self.adaptation == "full" and (self.topic_rate is not None or self.rows_first.epochs):
            problems.append(
                "topic_rate and rows_first need adaptation lora or top_blocks: full does not train the rows separately"
            )
        return problems

    @property
    def is_given_topics(self) -> bool:
        """Whether training gives the decoder its topics, so that it is not trained to choose them."""
        return not (self.topic_loss or self.noisy_topic_loss)

    @property
    def prompt_in_force(self) -> str:
        """`prompt` with "auto" resolved."""
        if self.prompt != "auto":
            return self.prompt
        return "plain" if self.base is None else "instruction"

    def resolved(self, width: int | None = None) -> "DecoderSettings":
        """These settings, with defaults for the base or the model from scratch filled in.

        Args:
            width: Hidden size of the base; without it, learning rates that depend on it stay None.
        """
        usual = SCRATCH if self.base is None else BASE
        if self.base is not None and width is not None:
            rate = PhaseSettings(learning_rate=usual_rate(self.adaptation, width))
            usual = {name: phase.resolved(rate) for name, phase in usual.items()}
        phases = {name: getattr(self, name).resolved(phase) for name, phase in usual.items()}
        listens = self.base is not None and self.is_given_topics
        rates = None if self.adaptation == "full" or not listens else TOPIC_RATE
        usual_shares = {"topic_dropout": 0.0, "text_swap": TEXT_SWAP if listens else 0.0, "topic_rate": rates}
        left_open = {name: value for name, value in usual_shares.items() if getattr(self, name) is None}
        return replace(self, prompt=self.prompt_in_force, **left_open, **phases)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "DecoderSettings":
        """The settings stored in a bundle, which lack `trainer` and other settings of a single machine."""
        losses = {name: stored.get(name) for name in ("topic_loss", "noisy_topic_loss")}
        return cls(
            **{
                **stored,
                "scratch": ScratchSettings(**stored["scratch"]),
                "noisy": PhaseSettings(**stored["noisy"]),
                "clean": PhaseSettings(**stored["clean"]),
                "rows_first": PhaseSettings(**stored.get("rows_first", {"epochs": 0})),
                **{name: loss and LossSettings.from_dict(loss) for name, loss in losses.items()},
            }
        )


@dataclass(frozen=True)
class GenerationSettings:
    """How outputs are generated.

    Attributes:
        max_new_tokens: Most tokens of an output; None is the limit of targets in training.
        sample: Sample tokens by their probability; False takes the most probable token each time (greedy).
        temperature: Temperature of sampling, at least 0.001: below 1 is more cautious, above 1 more varied.
        top_p: Probability share of the most probable tokens that sampling considers.
        seed: Random seed of sampling. An output depends only on seed, text and topic, not on other rows.
        tokens_per_batch: Padded tokens in a batch, outputs included; None chooses by the device. vLLM chooses itself.
        guidance: Strength of classifier-free guidance: 1 is none, at 1.5 to 3 outputs follow their topic more closely;
            needs a decoder fitted with a topic_dropout. An output then takes up to twice the time.
    """

    max_new_tokens: int | None = None
    sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    tokens_per_batch: int | None = None
    guidance: float = 1.0

    def __post_init__(self) -> None:
        problems = []
        if not 1 <= self.guidance <= MOST_GUIDANCE:
            problems.append(f"guidance is {self.guidance}, must be a number from 1 (none) to {MOST_GUIDANCE:g}")
        if self.max_new_tokens is not None and not 1 <= self.max_new_tokens <= MOST_NEW_TOKENS:
            problems.append(f"max_new_tokens is {self.max_new_tokens}, must be between 1 and {MOST_NEW_TOKENS:,}")
        if not LEAST_TEMPERATURE <= self.temperature < float("inf"):
            problems.append(
                f"temperature is {self.temperature}, must be at least {LEAST_TEMPERATURE:g}; without sampling the most "
                "probable token is taken"
            )
        if not 0 < self.top_p <= 1:
            problems.append(f"top_p is {self.top_p}, must be above 0 and at most 1")
        if self.tokens_per_batch is not None and self.tokens_per_batch < 1:
            problems.append(f"tokens_per_batch is {self.tokens_per_batch}, must be positive")
        if problems:
            raise UserError("generation: " + "; ".join(problems))
