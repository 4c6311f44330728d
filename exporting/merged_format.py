"""Both stages as plain transformers folders, which need neither PEFT nor unskew. Knows files; converts nothing."""

import shutil
from pathlib import Path

from transformers import GenerationConfig

from ..decoder import TopicDecoder, save_plain


def write_encoder(encoder_folder: Path, folder: Path) -> None:
    """The bundle's encoder, as it is."""
    shutil.copytree(encoder_folder, folder)


def write_decoder(decoder: TopicDecoder, folder: Path) -> None:
    """The decoder with its adapter and the topics' rows in its weights, its tokenizer, and how it writes.

    `generate` then writes greedily, ends where the decoder ends, and never writes a control token.
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
