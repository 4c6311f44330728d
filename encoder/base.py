"""The model and tokenizer that an encoder starts from: a pretrained base, or a small model from scratch.

Knows transformers; knows nothing of training.
"""

import logging
from collections.abc import Iterable
from typing import Any

import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    ModernBertConfig,
    ModernBertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..common import UserError, first_line
from ..corpus import Topics
from ..runtime import train_tokenizer
from ..training import ScratchSettings
from .head import labels, place_topics
from .padding import check_padding
from .pass_through import pass_features_on
from .pooling import pool_as_declared
from .reading import read_classifier, room
from .settings import EncoderSettings
from .tokens import token_id

log = logging.getLogger("unskew")


def make_base(
    settings: EncoderSettings, topics: Topics, texts: Iterable[str], seed: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A float32 sequence classifier over `topics`, with new weights drawn by `seed`, and its tokenizer.

    Args:
        settings: Settings with the base, or with the size of the model from scratch.
        topics: Topics, one output each, in this order.
        texts: Texts to train the tokenizer of a model from scratch on; not read for a pretrained base.
        seed: Random seed of the new weights.

    Raises:
        UserError: If the base is damaged, an adapter, another kind of model, or shorter than `max_tokens`.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if settings.base is None:
            model, tokenizer = _from_scratch(settings.scratch, settings.max_tokens, topics, texts)
        else:
            model, tokenizer = _pretrained(settings.base, settings, topics)
    tokenizer.model_max_length = settings.max_tokens
    return model, tokenizer


def _from_scratch(
    size: ScratchSettings, max_tokens: int, topics: Topics, texts: Iterable[str]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    tokenizer = train_tokenizer(texts, size.vocabulary)
    start, end = str(tokenizer.cls_token), str(tokenizer.sep_token)
    ids = {mark: token_id(tokenizer, mark) for mark in (start, end)}
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single=f"{start} $A {end}", pair=f"{start} $A {end} $B {end}", special_tokens=list(ids.items())
    )
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": size.width,
        "intermediate_size": 2 * size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "max_position_embeddings": max_tokens,
        "layer_types": ["full_attention"] * size.layers,
        "embedding_dropout": 0.2,
        "classifier_dropout": 0.2,
        # The mean of the tokens reaches every embedding from the first step; the first token's state would not.
        "classifier_pooling": "mean",
        "pad_token_id": tokenizer.pad_token_id,
        "cls_token_id": ids[start],
        "bos_token_id": ids[start],
        "sep_token_id": ids[end],
        "eos_token_id": ids[end],
    }
    return ModernBertForSequenceClassification(ModernBertConfig(**shape, **labels(topics))), tokenizer


def _pretrained(
    base: str, settings: EncoderSettings, topics: Topics
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    try:
        model, tokenizer, missing = read_classifier(base)
        known = place_topics(model, topics, missing)
        pass_features_on(model, missing)
        pool_as_declared(model, base)
        check_padding(model, tokenizer, base)
    except UserError:
        raise
    except Exception as error:  # any kind: files may contain anything
        raise UserError(
            f"encoder base {base!r} cannot be loaded ({first_line(error)}): "
            "give a hub id or a folder with config.json, model.safetensors and a tokenizer"
        ) from error
    if known and settings.recipe_in_force == "phases":  # the other recipes fit all outputs again
        log.info("encoder: training starts from the base's own outputs for %d of the %d topics", known, len(topics))
    longest = room(model)
    if longest is not None and settings.max_tokens > longest:
        raise UserError(
            f"encoder max_tokens is {settings.max_tokens}, but {base} has {longest} positions: give at most {longest}"
        )
    return model, tokenizer
