"""Checks that padding does not change a classifier's outputs. Knows tokens and logits; changes nothing."""

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..common import UserError
from ..runtime import logits_agree
from .tokens import pad, pad_id_of, tokenize

_TEXTS = ("one", "one two three four five six seven eight")


@torch.inference_mode()
def check_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, what: str) -> None:
    """Check that a row has the same logits alone and in a batch with a longer row.

    Args:
        model: Model in float32 and evaluation mode.
        tokenizer: Tokenizer of the model.
        what: Name of the model for the message.

    Raises:
        UserError: If the logits differ.
    """
    rows = tokenize(tokenizer, _TEXTS, 16)
    alone, beside = (
        model(**{name: value.to(model.device) for name, value in pad(batch, pad_id_of(tokenizer)).items()}).logits[0]
        for batch in (rows[:1], rows)
    )
    if not logits_agree(alone, beside):
        raise UserError(
            f"{what}: its logits for a text change when a longer text is in the batch, so it does not mask padding; "
            "choose another base, or correct pad_token_id in its config.json"
        )
