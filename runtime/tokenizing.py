"""Trains small tokenizers, and reads users' text as plain text. Knows nothing of topics or control tokens.

A special token of a tokenizer is special for every caller.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from .text_tokenizer import TextTokenizer

_MARKS = {
    "pad_token": "<|pad|>",
    "bos_token": "<|bos|>",
    "eos_token": "<|eos|>",
    "cls_token": "<|cls|>",
    "sep_token": "<|sep|>",
    "mask_token": "<|mask|>",
}
_LONGEST_PREFIX = 50_000

Row = TypeVar("Row")


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer. No text is unknown to it, and each digit is a token, so that numbers copy.

    Args:
        texts: Texts to learn the merges from; read once.
        vocabulary: Most tokens, including the 256 bytes and the special tokens (padding, start, end).
    """
    tokenizer = Tokenizer(models.BPE())
    # Makes a word the same token at the start of a text and inside it.
    tokenizer.normalizer = normalizers.Prepend(" ")  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(_MARKS.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, split_special_tokens=True, **_MARKS)


def encode_user_text(
    tokenizer: PreTrainedTokenizerBase | TextTokenizer, texts: Sequence[str], max_tokens: int
) -> list[list[int]]:
    """Token ids of users' texts, at most `max_tokens` each; special tokens in a text are read as plain characters.

    A long text is read only as far as those tokens need, see `read_prefixes`.

    Args:
        tokenizer: A `TextTokenizer`, which threads may share; any other tokenizer is changed to read texts.
        texts: Any strings.
        max_tokens: Most tokens of a text; the rest is left out.
    """
    if not texts:
        return []
    prefix = max(_LONGEST_PREFIX, 64 * max_tokens)
    reader = tokenizer if isinstance(tokenizer, TextTokenizer) else TextTokenizer(tokenizer)
    return read_prefixes(texts, prefix, max_tokens, lambda cut: reader.encode(cut, max_tokens), len)


def read_prefixes(
    texts: Sequence[str],
    characters: int,
    max_tokens: int,
    encode: Callable[[list[str]], list[Row]],
    length: Callable[[Row], int],
) -> list[Row]:
    """The first tokens of each text, from a prefix that doubles until it has enough tokens or is the whole text.

    A text of 100,000 words costs no more than its start. A text that starts with thousands of blanks or one endless
    word, which give few tokens or none, is still read further.

    Args:
        texts: Any strings; half of a surrogate pair, which no tokenizer takes, is read as a question mark.
        characters: Length of the first prefix.
        max_tokens: Tokens of a full row.
        encode: Function from strings to rows, cut at `max_tokens`.
        length: Function from a row to its number of tokens.
    """
    rows = encode([_whole(text[:characters]) for text in texts])
    short = [i for i, text in enumerate(texts) if len(text) > characters and length(rows[i]) < max_tokens]
    if short:
        longer = read_prefixes([texts[i] for i in short], 2 * characters, max_tokens, encode, length)
        for i, row in zip(short, longer, strict=True):
            rows[i] = row
    return rows


def _whole(text: str) -> str:
    """The text without lone surrogates, which a Python string can have."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
