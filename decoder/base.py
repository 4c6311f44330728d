"""The causal language model a decoder starts from: a named one, or a small one made here. Knows no topics."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..common import UserError, first_line
from ..runtime import train_tokenizer
from ..training import ScratchSettings

_LONGEST_SCRATCH = 4096  # positions; rotary embeddings cost nothing for those unused


def load_model(reference: str | Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A causal language model by hub id or folder, from safetensors, without code of its own.

    Raises:
        UserError: if there is no such model, or it cannot be read.
    """
    with _readable(reference):
        return AutoModelForCausalLM.from_pretrained(
            reference, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )


def load_tokenizer(reference: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model; where it has no padding token the end token serves, as it is masked anyway.

    Raises:
        UserError: if there is none, or it has no end token.
    """
    with _readable(reference):
        tokenizer = AutoTokenizer.from_pretrained(reference, trust_remote_code=False)
    if tokenizer.eos_token_id is None:
        raise UserError(f"the tokenizer of {reference} has no end token; set eos_token in its tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def make_scratch_tokenizer(settings: ScratchSettings, texts: Iterable[str]) -> PreTrainedTokenizerBase:
    """A small byte-level tokenizer that has learnt its pieces from `texts`."""
    return train_tokenizer(texts, settings.vocabulary)


def make_scratch_model(settings: ScratchSettings, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """A small Llama with random weights and a row for every token of `tokenizer`."""
    marks: Any = {f"{mark}_token_id": getattr(tokenizer, f"{mark}_token_id") for mark in ("pad", "bos", "eos")}
    config = LlamaConfig(
        vocab_size=-(-len(tokenizer) // 8) * 8,
        hidden_size=settings.width,
        intermediate_size=3 * settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=_LONGEST_SCRATCH,
        tie_word_embeddings=True,
        # Not the usual 0.02, meant for widths in the thousands: with it a model of width 64 or 128 has not begun to
        # copy facts after 12,000 newsroom rows; with this it begins after 5,000.
        initializer_range=settings.width**-0.5,
        **marks,
    )
    torch.manual_seed(seed)
    return LlamaForCausalLM(config)


@contextmanager
def _readable(reference: str | Path) -> Generator[None]:
    try:
        yield
    except (OSError, SafetensorError, ValueError) as error:
        reason = first_line(error)
        raise UserError(
            f"cannot load the language model {str(reference)!r}: {reason}; "
            "give the id of a model on the hub or a folder that holds one with safetensors weights"
        ) from error
