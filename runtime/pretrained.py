"""Reads a pretrained model and its tokenizer, from a folder or the hub, and checks both. Knows no stage.

No code from the folder is run, weights must be safetensors, and model and tokenizer get the same padding token.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils import HFValidationError, validate_repo_id
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging
from transformers.utils.peft_utils import find_adapter_config_file

from ..common import UserError
from .finite import check_finite

LARGEST_LIMIT = 1 << 24  # tokens; tokenizers without a limit have 1e30


def read_config(reference: str | Path) -> PreTrainedConfig:
    """A model's configuration.

    Raises:
        UserError: If there is no such folder, it is an adapter, or its attention needs its own code.
        Exception: If there is none or it cannot be read; any kind of exception.
    """
    _refuse_missing_folder(reference)
    if find_adapter_config_file(str(reference)) is not None:
        raise UserError(
            f"{reference} is an adapter, not a whole model: merge it into its base first (PEFT's "
            "merge_and_unload, then save_pretrained with the tokenizer) and give that folder"
        )
    config = AutoConfig.from_pretrained(reference, trust_remote_code=False)
    if "/" in str(config._attn_implementation):
        raise UserError(
            f"{reference} needs its own code for its attention, which unskew does not run; choose another base"
        )
    return config


def _refuse_missing_folder(reference: str | Path) -> None:
    if Path(reference).exists():
        return
    try:
        validate_repo_id(str(reference))
    except HFValidationError as error:
        raise UserError(f"there is no folder {reference}; give a folder with a model, or a hub id") from error


def read_tokenizer(reference: str | Path, config: PreTrainedConfig | None = None) -> PreTrainedTokenizerBase:
    """A model's tokenizer. Its padding token, which batches are padded with, is set in `config` too.

    A tokenizer without a padding token takes the configuration's, unless that is ordinary text, or its own end token.

    Raises:
        UserError: If there is no tokenizer, or no token to pad with.
        Exception: If there is no tokenizer or it cannot be read; any kind of exception.
    """
    tokenizer = AutoTokenizer.from_pretrained(reference, trust_remote_code=False)
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # transformers' result for a folder without a tokenizer
        raise UserError(f"{reference} cannot be loaded: it has no tokenizer; put tokenizer.json beside its weights")
    parts = [] if config is None else [config, config.get_text_config()]
    if tokenizer.pad_token_id is None:
        stated = [tokenizer.added_tokens_decoder.get(getattr(part, "pad_token_id", None)) for part in parts]
        special = [str(token) for token in stated if token is not None and token.special]
        tokenizer.pad_token = next(iter(special), tokenizer.eos_token)
    if tokenizer.pad_token_id is None:
        raise UserError(f"the tokenizer of {reference} has no padding token; set pad_token in tokenizer_config.json")
    for part in parts:
        part.pad_token_id = tokenizer.pad_token_id
    return tokenizer


def read_model(
    auto: Any, reference: str | Path, config: PreTrainedConfig, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, set[str]]:
    """A model in evaluation mode on the CPU, and the names of weights that the files lack, which are new.

    Args:
        auto: Class of transformers that makes it, such as `AutoModelForCausalLM`.
        reference: Hub id or folder.
        config: Configuration from `read_config`.
        dtype: Data type of the weights, whatever the type in the files.

    Raises:
        UserError: If a weight is NaN or infinite.
        Exception: If the files are missing or damaged; any kind of exception.
    """
    with _without_bars():
        model, info = auto.from_pretrained(
            reference,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    check_finite(model, str(reference), "restore it, or give another")
    return model, set(info["missing_keys"])


@contextmanager
def _without_bars() -> Generator[None]:
    """Hide transformers' own progress bars while the block runs; those of downloads, which take long, stay."""
    before = logging.set_tqdm_hook(lambda factory, given, options: logging.EmptyTqdm(*given, **options))
    try:
        yield
    finally:
        logging.set_tqdm_hook(before)


def refuse_missing(missing: set[str], reference: str | Path) -> None:
    """Refuse a model whose missing weights would be random.

    Raises:
        UserError: If any weight is missing.
    """
    if missing:
        raise UserError(
            f"{reference} lacks {len(missing)} of the model's weights (such as {min(missing)}), so it is damaged or "
            "another kind of model; restore it, or choose another"
        )


def grow_embedding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, multiple: int | None = None) -> None:
    """Give every token an embedding row, in place: some tokenizers have added tokens that their model does not know.

    A new row is the mean of all old rows, so that it is the same whenever the model is read. Rows that pad the matrix
    to a multiple of `multiple` are zeros.
    """
    before = len(embedding_matrices(model)[0])
    needed = 1 + max(tokenizer.get_vocab().values())
    if needed <= before:
        return
    model.resize_token_embeddings(needed, pad_to_multiple_of=multiple, mean_resizing=False)
    with torch.no_grad():
        for matrix in embedding_matrices(model):
            matrix[before:needed] = matrix[:before].float().mean(dim=0).to(matrix.dtype)
            matrix[needed:] = 0


def embedding_matrices(model: PreTrainedModel) -> list[nn.Parameter]:
    """The weight of the input embedding and, if it is another matrix, of the output embedding."""
    found: list[nn.Parameter] = []
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        weight = getattr(module, "weight", None)
        if weight is not None and all(weight is not other for other in found):
            found.append(weight)
    return found


def positions(config: PreTrainedConfig) -> int | None:
    """The number of positions of a model; None if it has no limit, or states an absurd one."""
    return plausible_limit(getattr(config.get_text_config(), "max_position_embeddings", None))


def plausible_limit(tokens: Any) -> int | None:
    """A number of tokens, or None if it is not a number, negative or absurd."""
    return int(tokens) if isinstance(tokens, int | float) and 0 < tokens <= LARGEST_LIMIT else None


def logits_agree(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether two float32 results for one row differ only by rounding, which is far below 1% of the largest.

    A row at wrong positions, or one that sees its padding, differs much more.
    """
    return bool((first - second).abs().max() <= 0.01 * first.abs().max())
