"""The contents of decoder.json and adapter_config.json, as types with limits against hostile files. Knows no model."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from ..common import Artefact, Count, Name
from .settings import Adaptation, Condition

Tokens = Annotated[int, Field(ge=1, le=2**24)]
ModuleName = Annotated[str, Field(max_length=500, pattern=r"^[A-Za-z0-9_.]+$")]
# Variants of LoRA that unskew does not write: some load further files, some rebuild the model.
_NEVER = (
    "auto_mapping",
    "corda_config",
    "eva_config",
    "layer_replication",
    "layers_pattern",
    "lora_ga_config",
    "megatron_config",
    "arrow_config",
)


class StoredPrompt(Artefact):
    """The prompt around a text."""

    before: str = Field(max_length=1_000_000, description="Text before the user's text.")
    after: str = Field(max_length=1_000_000, description="Text after the user's text.")


class StoredFacts(Artefact):
    """Facts about the training."""

    adaptation: Adaptation = Field(description="Trained weights of the base.")
    trainable: Count = Field(description="Number of trained parameters.")
    parameters: Count = Field(description="All parameters.")
    adapter_bytes: Count | None = Field(description="Bytes of the adapter; null without one.")


class StoredDecoder(Artefact):
    """decoder/decoder.json: the decoder's topics, prompt and limits, beside the weights."""

    topics: list[Name] = Field(min_length=1, max_length=1_000_000, description="As in unskew.json.")
    prompt: StoredPrompt = Field(description="Prompt around every text.")
    max_tokens: Tokens = Field(description="Most tokens of prompt and text together.")
    max_target_tokens: Tokens = Field(description="Of an output.")
    condition: Condition = Field(default="token", description="Form of the topic; token if absent.")
    unguided: bool = Field(
        default=False,
        description="Whether the decoder also writes without a topic, as guidance needs; false if absent.",
    )
    fairness: bool = Field(
        default=True,
        description="Whether the decoder was trained with `<force_fairness>`; taken to be true if absent.",
    )
    facts: StoredFacts | None = Field(description="Facts about the training; null if not known.")


class StoredAdapter(Artefact):
    """decoder/adapter_config.json, PEFT's own file: LoRA of limited size on modules listed by name."""

    peft_type: Literal["LORA"] = Field(description="Kind of adapter.")
    task_type: Literal["CAUSAL_LM"] = Field(description="Kind of model.")
    base_model_name_or_path: str = Field(
        min_length=1,
        max_length=4096,
        description='The base: "base" for the folder beside this file, another folder, or a hub id.',
    )
    r: int = Field(ge=1, le=4096, description="Rank.")
    lora_alpha: float = Field(ge=0, le=1e6, description="Scale of LoRA.")
    lora_dropout: float = Field(ge=0, lt=1, description="Dropout of LoRA.")
    # A string would be a regular expression, which may take forever.
    target_modules: list[ModuleName] = Field(
        min_length=1, max_length=100_000, description="Names of the adapted modules."
    )
    modules_to_save: list[ModuleName] | None = Field(
        default=None, description="Names of modules that are trained in full."
    )
    rank_pattern: dict[ModuleName, Annotated[int, Field(ge=1, le=4096)]] = Field(
        default={}, description="Ranks of single modules; empty."
    )
    alpha_pattern: dict[ModuleName, float] = Field(default={}, description="Scales of single modules; empty.")
    trainable_token_indices: dict[ModuleName, list[Count]] | list[Count] | None = Field(
        default=None, description="Ids of the trained embedding rows."
    )

    @model_validator(mode="after")
    def _plain_lora(self) -> "StoredAdapter":
        further: dict[str, JsonValue] = self.model_extra or {}
        for name in _NEVER:
            if further.get(name):
                raise ValueError(f"{name} is set, which unskew never writes")
        return self
