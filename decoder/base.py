"""The causal language model that a decoder starts from: a pretrained one, or a small new one. Knows no topics."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..common import UserError, first_line
from ..runtime import logits_agree, read_config, read_model, read_tokenizer, refuse_missing, train_tokenizer
from ..training import ScratchSettings
from .sequences import last_logits, pad_left

_LONGEST_SCRATCH = 4096  # positions; with rotary embeddings, unused ones cost nothing


def load_config(reference: str | Path) -> PreTrainedConfig:
    """The configuration of a language model.

    Raises:
        UserError: If the configuration is missing, or the model is an adapter.
    """
    with _readable(reference):
        return read_config(reference)


def load_model(reference: str | Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Load a causal language model from the hub or a folder; only safetensors, and no code from the model's repository.

    Its own generation settings (penalties, sampling, lengths) are dropped: transformers' `generate` would obey them
    beside the ones it is given.

    Raises:
        UserError: If the model is missing, is an adapter, cannot be read, or lacks weights.
    """
    with _readable(reference):
        model, missing = read_model(AutoModelForCausalLM, reference, read_config(reference), dtype)
        refuse_missing(missing, reference)
    drop_generation_settings(model)
    return model


def drop_generation_settings(model: PreTrainedModel) -> None:
    """Keep only the special tokens of a model's generation settings."""
    old: Any = model.generation_config
    model.generation_config = GenerationConfig(
        **{name: getattr(old, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    )


def load_tokenizer(reference: str | Path, config: PreTrainedConfig | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model. Without a padding token, the end token is used for padding, which is masked anyway.

    Args:
        reference: Hub id or folder.
        config: Configuration of the model, in which the padding token is set.

    Raises:
        UserError: If there is no tokenizer, or it has no end token.
    """
    with _readable(reference):
        tokenizer = read_tokenizer(reference, config)
    if tokenizer.eos_token_id is None:
        raise UserError(f"the tokenizer of {reference} has no end token; set eos_token in its tokenizer_config.json")
    return tokenizer


def pad_id_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """The padding token id."""
    pad_id = tokenizer.pad_token_id
    assert isinstance(pad_id, int)  # `load_tokenizer` and `make_scratch_tokenizer` set one
    return pad_id


@torch.inference_mode()
def check_padding(model: PreTrainedModel, rows: Sequence[Sequence[int]], pad_id: int) -> None:
    """Check that a model gives a row the same logits alone and in a batch with a longer row.

    Args:
        model: Model in float32 and evaluation mode.
        rows: Token ids of a shorter and a longer row.
        pad_id: Padding token id; rows are padded on the left.

    Raises:
        UserError: If the logits differ, because the model does not mask padding.
    """
    alone, beside = (last_logits(model, pad_left(batch, pad_id), last=1)[0] for batch in (rows[:1], rows))
    if not logits_agree(alone, beside):
        raise UserError(
            f"the language model {model.name_or_path} gives other logits for a text when a longer text is in the "
            "batch, so it does not mask padding; choose another base"
        )


def make_scratch_tokenizer(settings: ScratchSettings, texts: Iterable[str]) -> PreTrainedTokenizerBase:
    """A small byte-level tokenizer, trained on `texts`."""
    return train_tokenizer(texts, settings.vocabulary)


def make_scratch_model(settings: ScratchSettings, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """A small Llama with random weights and a row for every token of `tokenizer`."""
    special_tokens: Any = {f"{mark}_token_id": getattr(tokenizer, f"{mark}_token_id") for mark in ("pad", "bos", "eos")}
    config = LlamaConfig(
        vocab_size=-(-len(tokenizer) // 8) * 8,
        hidden_size=settings.width,
        intermediate_size=3 * settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=_LONGEST_SCRATCH,
        tie_word_embeddings=True,
        # The usual 0.02 is for widths in the thousands. With it, a model of width 64 or 128 has not begun to copy facts
        # after 12,000 newsroom rows; with this it begins after 5,000.
        initializer_range=settings.width**-0.5,
        **special_tokens,
    )
    torch.manual_seed(seed)
    return LlamaForCausalLM(config)


@contextmanager
def _readable(reference: str | Path) -> Generator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of any kind: the files may contain anything
        raise UserError(
            f"cannot load the language model {str(reference)!r}: {first_line(error)}; "
            "give a hub id or a folder with config.json, a tokenizer and safetensors weights"
        ) from error
