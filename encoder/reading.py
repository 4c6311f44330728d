"""Reads any sequence classifier in transformers' layout, with its tokenizer. Knows no topics and no training."""

from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from ..runtime import (
    grow_embedding,
    plausible_limit,
    positions,
    read_config,
    read_model,
    read_tokenizer,
    refuse_missing,
)
from .layers import head_names

UNLIMITED = 512  # tokens that are read if neither model nor tokenizer has a limit


def read_classifier(
    reference: str | Path, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, set[str]]:
    """A classifier in evaluation mode, its tokenizer, and the names of the head's weights that the files lack.

    Args:
        reference: Hub id or folder.
        dtype: Data type of the weights.

    Raises:
        UserError: If it is an adapter, or lacks weights of its body.
        Exception: If there is no classifier; any kind of exception.
    """
    config = read_config(reference)
    stated = getattr(config, "pad_token_id", None)
    tokenizer = read_tokenizer(reference, config)
    model, missing = read_model(AutoModelForSequenceClassification, reference, config, dtype)
    if stated not in (None, tokenizer.pad_token_id) and _position_padding(model) is not None:
        config.pad_token_id = stated  # positions are counted from it, and the weights were trained so
        model, missing = read_model(AutoModelForSequenceClassification, reference, config, dtype)
    refuse_missing(missing - head_names(model), reference)
    grow_embedding(model, tokenizer)
    return model, tokenizer, missing


def room(model: PreTrainedModel) -> int | None:
    """Positions of a model, None without a limit; the RoBERTa family loses those up to its padding token."""
    limit, padding = positions(model.config), _position_padding(model)
    return limit if limit is None or padding is None else limit - padding - 1


def longest_text(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Most tokens of a text that are read: the smaller limit of model and tokenizer."""
    limits = [limit for limit in (room(model), plausible_limit(tokenizer.model_max_length)) if limit is not None]
    return min(limits, default=UNLIMITED)


def _position_padding(model: PreTrainedModel) -> int | None:
    """The padding token that positions are counted from, in model families that do so."""
    tables = (module for name, module in model.named_modules() if name.endswith("position_embeddings"))
    return getattr(next(tables, None), "padding_idx", None)
