"""Writes both stages as plain transformers folders, which need neither PEFT nor unskew. Knows files."""

import shutil
from pathlib import Path

from transformers import GenerationConfig

from ..decoder import TopicDecoder, save_plain


def write_encoder(encoder_folder: Path, folder: Path) -> None:
    """Write the bundle's encoder unchanged."""
    shutil.copytree(encoder_folder, folder)


def write_decoder(decoder: TopicDecoder, folder: Path) -> None:
    """Write the decoder with its adapter and the topics' rows merged, its tokenizer, and its generation settings.

    `generate` is then greedy, ends at the decoder's end token, and never generates a control token.
    """
    tokenizer = decoder.tokenizer
    save_plain(decoder.model, folder)  # pyright: ignore[reportArgumentType] merged as it was read
    tokenizer.save_pretrained(folder)
    GenerationConfig(
        do_sample=False,
        max_new_tokens=decoder.max_target_tokens + 1,
        suppress_tokens=decoder.never_written,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    ).save_pretrained(folder)
