"""Tokenizers: training a small one from texts, and reading users' text without obeying it.

Knows nothing of topics or of control tokens: what is special in a tokenizer is so for every caller.
"""

from collections.abc import Iterable, Sequence

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

    Only a prefix of a very long text is read. It is generous (64 characters a token, at least 50,000), so the
    result differs from reading the whole only where tokens are longer than that on average.

    Args:
        tokenizer: A `TextTokenizer` where threads may share it; any other is set up to read texts.
        texts: Any strings.
        max_tokens: What follows them is left out.
    """
    if not texts:
        return []
    prefix = max(_LONGEST_PREFIX, 64 * max_tokens)
    reader = tokenizer if isinstance(tokenizer, TextTokenizer) else TextTokenizer(tokenizer)
    return reader.encode([_whole(text[:prefix]) for text in texts], max_tokens)


def _whole(text: str) -> str:
    """Without halves of surrogate pairs, which a Python string can hold and no tokenizer takes."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
