"""Turns texts into padded token tensors for an encoder. Knows tokenizers; knows nothing of topics or training."""

from collections.abc import Iterable, Sequence

import torch
from transformers import PreTrainedTokenizerBase

from ..runtime import TextTokenizer, read_prefixes

LONGEST_TOKEN = 64  # characters per token in the prefix of a text that is read first


def tokenize(
    tokenizer: PreTrainedTokenizerBase | TextTokenizer, texts: Sequence[str], max_tokens: int
) -> list[list[int]]:
    """Token ids of each text with the model's own special tokens around it, at most `max_tokens` in all, at least one.

    Control strings inside a text ("[CLS]", "</s>") are plain characters here, whatever the tokenizer's own setting. A
    long text is read only as far as those tokens need. Leading blanks say nothing about the topic and are dropped.

    Args:
        tokenizer: A `TextTokenizer`, which threads may share; any other tokenizer is copied.
        texts: Any strings.
        max_tokens: Most tokens of a text; the rest is left out.
    """
    if not texts:
        return []
    reader = tokenizer if isinstance(tokenizer, TextTokenizer) else TextTokenizer.private(tokenizer)
    known = reader.tokenizer
    special = {i for i in known.all_special_ids if i != known.unk_token_id}
    rows = read_prefixes(
        [text.lstrip() for text in texts],
        max_tokens * LONGEST_TOKEN,
        max_tokens,
        lambda cut: reader.encode_with_special(cut, max_tokens),
        lambda row: len(row[0]),
    )
    return [_without_spoofs(ids, mask, special) or [pad_id_of(known)] for ids, mask in rows]


def _without_spoofs(ids: list[int], mask: list[int], special: set[int]) -> list[int]:
    """Drop special ids that came from the text: some vocabularies have the control string as an ordinary piece."""
    if sum(i in special for i in ids) == sum(mask):
        return ids
    return [i for i, own in zip(ids, mask, strict=True) if own or i not in special]


def pad_id_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """The padding id; any id will do if a tokenizer has none, because the mask hides it."""
    return token_id(tokenizer, str(tokenizer.pad_token)) if tokenizer.pad_token else 0


def token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """The id of one token."""
    return tokenizer.convert_tokens_to_ids([token])[0]  # pyright: ignore[reportIndexIssue]


def pad(rows: Iterable[Sequence[int]], pad_id: int) -> dict[str, torch.Tensor]:
    """Right-pad rows of ids to the longest: `input_ids` and `attention_mask`, both (B, T) int64."""
    ids = [torch.as_tensor(row, dtype=torch.long) for row in rows]
    lengths = torch.tensor([len(row) for row in ids])
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=pad_id)
    mask = torch.arange(padded.shape[1])[None, :] < lengths[:, None]
    return {"input_ids": padded, "attention_mask": mask.long()}
