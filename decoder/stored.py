"""What decoder.json and adapter_config.json hold, as types. Knows no model; bounds what a hostile file may ask for."""

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
    """The words around a text."""

    before: str = Field(max_length=1_000_000)
    after: str = Field(max_length=1_000_000)


class StoredFacts(Artefact):
    """What training changed."""

    adaptation: Adaptation
    trainable: Count = Field(description="Parameters that were trained.")
    parameters: Count = Field(description="All parameters.")
    adapter_bytes: Count | None = Field(description="Bytes of the adapter; null where there is none.")


class StoredDecoder(Artefact):
    """decoder/decoder.json: what makes a language model this decoder."""

    topics: list[Name] = Field(min_length=1, max_length=1_000_000, description="As in unskew.json.")
    prompt: StoredPrompt
    max_tokens: Tokens = Field(description="Of prompt and text together.")
    max_target_tokens: Tokens = Field(description="Of an output.")
    condition: Condition = Field(default="token", description="How the topic is given; token where it is absent.")
    unguided: bool = Field(
        default=False,
        description="Whether it also writes without a topic, as guidance needs; else false, or absent.",
    )
    facts: StoredFacts | None = Field(description="What training changed; null where it is not known.")


class StoredAdapter(Artefact):
    """decoder/adapter_config.json, PEFT's own file: LoRA of bounded size on modules named in full."""

    peft_type: Literal["LORA"]
    task_type: Literal["CAUSAL_LM"]
    base_model_name_or_path: str = Field(
        min_length=1, max_length=4096, description='"base" for the folder beside it, a folder, or an id on the hub.'
    )
    r: int = Field(ge=1, le=4096, description="Rank.")
    lora_alpha: float = Field(ge=0, le=1e6)
    lora_dropout: float = Field(ge=0, lt=1)
    # A string would be a regular expression, which can take for ever.
    target_modules: list[ModuleName] = Field(min_length=1, max_length=100_000)
    modules_to_save: list[ModuleName] | None = None
    rank_pattern: dict[ModuleName, Annotated[int, Field(ge=1, le=4096)]] = {}
    alpha_pattern: dict[ModuleName, float] = {}
    trainable_token_indices: dict[ModuleName, list[Count]] | list[Count] | None = None

    @model_validator(mode="after")
    def _plain_lora(self) -> "StoredAdapter":
        further: dict[str, JsonValue] = self.model_extra or {}
        for name in _NEVER:
            if further.get(name):
                raise ValueError(f"{name} is set, which unskew never writes")
        return self
