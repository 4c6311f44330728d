"""Which weights of a base are trained: LoRA, the last blocks, or all. Knows PEFT; knows no data.

Of the embedding only the rows of the control tokens are trained, except under full fine-tuning.
"""

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from peft import LoraConfig, PeftModel, TaskType, TrainableTokensConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save
from torch import nn
from transformers import PreTrainedModel

from ..common import UserError, first_line
from .control import ControlTokens
from .settings import DecoderSettings
from .token_rows import use_rows_beside

Model = PreTrainedModel | PeftModel
_ROWS = "trainable_tokens_delta"  # PEFT's name for them


@dataclass(frozen=True)
class TrainableParameters:
    """Numbers of parameters, in all and trained, and the adapter's bytes on disk (None without an adapter)."""

    adaptation: str
    trainable: int
    parameters: int
    adapter_bytes: int | None

    @property
    def share(self) -> float:
        """Share of the parameters that are trained."""
        return self.trainable / self.parameters

    def __str__(self) -> str:
        trained = f"{self.adaptation}: {self.trainable:,} of {self.parameters:,} parameters train ({self.share:.1%})"
        size = "" if self.adapter_bytes is None else f"; the adapter takes {self.adapter_bytes / 1e6:.1f} MB on disk"
        return trained + size


def adapt(base: Model, control: ControlTokens, settings: DecoderSettings) -> Model:
    """Prepare `base` for training: afterwards only the parameters that `settings.adaptation` trains require gradients.

    Raises:
        UserError: If the base does not support this adaptation.
    """
    assert not isinstance(base, PeftModel)
    if settings.adaptation == "full":
        return base.requires_grad_(True)
    if settings.adaptation == "lora":
        try:
            model = get_peft_model(base, _lora_config(base, control, settings))
        except ValueError as error:  # PEFT does not adapt some recurrent models
            raise UserError(
                f"adaptation lora does not fit the base ({first_line(error)}); use adaptation top_blocks or full"
            ) from error
        use_rows_beside(model)
        return model
    blocks = find_blocks(base)
    if settings.blocks > len(blocks):
        raise UserError(f"blocks is {settings.blocks}, but the base has only {len(blocks)}; set it to fewer")
    names = list(_rows(base, control))
    tokens = TrainableTokensConfig(
        task_type=TaskType.CAUSAL_LM,
        target_modules=names[:1] if _tied(base) else names,
        token_indices=list(control.ids),
    )
    with warnings.catch_warnings():
        # PEFT warns that it will not tie the rows of a tied head; it does, and our tests check it.
        warnings.filterwarnings("ignore", message=".*tied layer is part of the adapter")
        model = get_peft_model(base, tokens)
    use_rows_beside(model)
    blocks[-settings.blocks :].requires_grad_(True)
    return model


def finish(model: Model) -> Model:
    """Merge an adapter that is not LoRA after training, because its base has changed and is saved as a whole."""
    if isinstance(model, PeftModel) and not isinstance(model.peft_config["default"], LoraConfig):
        return merge(model)
    return model.eval()


def merge(model: PeftModel) -> PreTrainedModel:
    """The plain model with the adapter merged into its weights; `model` cannot be used afterwards."""
    merged: Any = model.merge_and_unload()
    return merged.eval()


def trainable_parameters(model: Model, adaptation: str) -> TrainableParameters:
    """Count the parameters that a freshly adapted `model` trains, and the bytes of its adapter."""
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    adapter_bytes = None
    if adaptation == "lora" and isinstance(model, PeftModel):
        state = get_peft_model_state_dict(model, save_embedding_layers=False)
        adapter_bytes = len(save({name: value.contiguous() for name, value in state.items()}))
    return TrainableParameters(adaptation, trainable, total, adapter_bytes)


def token_row_rates(model: Model, factor: float) -> dict[str, float]:
    """Learning-rate factors by parameter name: `factor` for the rows of the control tokens, 1 for the rest."""
    return {name: factor for name, _ in model.named_parameters() if _ROWS in name}


@contextmanager
def training_rows_alone(model: Model) -> Generator[None]:
    """Let only the rows of the control tokens require gradients while the block runs."""
    rest = [weight for name, weight in model.named_parameters() if weight.requires_grad and _ROWS not in name]
    for weight in rest:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in rest:
            weight.requires_grad_(True)


def find_blocks(model: PreTrainedModel) -> nn.ModuleList:
    """A model's transformer blocks: the outermost list with the length that the configuration states."""
    depth = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return module
    raise UserError("unskew cannot find the transformer blocks of this base; use adaptation lora or full")


def _lora_config(base: PreTrainedModel, control: ControlTokens, settings: DecoderSettings) -> LoraConfig:
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        trainable_token_indices=_rows(base, control),  # a tied head shares the embedding's rows
    )


def _rows(base: PreTrainedModel, control: ControlTokens) -> dict[str, list[int]]:
    """The control rows by module name; an untied output matrix has its own, with which the baseline scores topics."""
    modules = [base.get_input_embeddings()]
    head = base.get_output_embeddings()
    # PEFT computes a wrapped head without its bias; such a head keeps its deterministic first rows.
    if not _tied(base) and head is not None and getattr(head, "bias", None) is None:
        modules.append(head)
    return {name: list(control.ids) for name, module in base.named_modules() if any(module is m for m in modules)}


def _tied(base: PreTrainedModel) -> bool:
    head = base.get_output_embeddings()
    return head is not None and head.weight is base.get_input_embeddings().weight
