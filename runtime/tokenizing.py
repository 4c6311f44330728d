"""Tokenizers: training a small one from texts, and reading users' text without obeying it.

Knows nothing of topics or of control tokens: what is special in a tokenizer is so for every caller.
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
    """Train a byte-level BPE tokenizer: no text is unknown to it, and digits stay single so that numbers copy.

    Args:
        texts: What to learn the merges from; read once.
        vocabulary: At most this many tokens, the 256 bytes and the marks (padding, start, end) included.
    """
    tokenizer = Tokenizer(models.BPE())
    # A word is the same token at the start of a text as inside it.
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
    """Token ids of users' text, at most `max_tokens` each: no mark is added, and none written in the text counts.

    Of a long text only as much is read as those tokens need: see `read_prefixes`.

    Args:
        tokenizer: A `TextTokenizer` where threads may share it; any other is set up to read texts.
        texts: Any strings.
        max_tokens: What follows them is left out.
    """
    if not texts:
        return []
    prefix = max(_LONGEST_PREFIX, 64 * max_tokens)
    reader = tokenizer if isinstance(tokenizer, TextTokenizer) else TextTokenizer(tokenizer)
    return read_prefixes(
        [_whole(text) for text in texts], prefix, max_tokens, lambda cut: reader.encode(cut, max_tokens), len
    )


def read_prefixes(
    texts: Sequence[str],
    characters: int,
    max_tokens: int,
    encode: Callable[[list[str]], list[Row]],
    length: Callable[[Row], int],
) -> list[Row]:
    """Rows of the first tokens of each text, from a prefix that doubles until it has enough tokens or is the whole.

    A text of 100,000 words costs no more than its start; one that starts with thousands of blanks, or with one endless
    word, of which a tokenizer makes few tokens or none, still keeps what follows.

    Args:
        texts: Any strings that the tokenizer takes.
        characters: Length of the first prefix.
        max_tokens: The tokens of a full row.
        encode: Strings to rows, cut at `max_tokens`.
        length: How many tokens a row has.
    """
    rows = encode([text[:characters] for text in texts])
    short = [i for i, text in enumerate(texts) if len(text) > characters and length(rows[i]) < max_tokens]
    if short:
        longer = read_prefixes([texts[i] for i in short], 2 * characters, max_tokens, encode, length)
        for i, row in zip(short, longer, strict=True):
            rows[i] = row
    return rows


def _whole(text: str) -> str:
    """Without halves of surrogate pairs, which a Python string can hold and no tokenizer takes."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
