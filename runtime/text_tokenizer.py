"""A tokenizer that threads can share, because calls do not change it. Knows only tokenizers.

transformers sets splitting and truncation on the shared tokenizer in each of its own calls, and another thread may
change them before the text is read.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from transformers import PreTrainedTokenizerBase


class TextTokenizer:
    """Reads texts, taking special tokens in them as plain characters.

    Args:
        tokenizer: Tokenizer that is changed here and must not be called afterwards; use `private` for a shared one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._backend: Any = getattr(tokenizer, "backend_tokenizer", None)  # None if written in Python, so stateless
        if self._backend is not None:
            self._backend.encode_special_tokens = True  # as characters
            self._backend.no_truncation()
            self._backend.no_padding()

    @classmethod
    def private(cls, tokenizer: PreTrainedTokenizerBase) -> "TextTokenizer":
        """A reader with its own copy of `tokenizer`, without tokens that are added later."""
        return cls(deepcopy(tokenizer))

    def encode(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """The first ids of each text, without the model's special tokens."""
        if self._backend is None:
            return [row[:max_tokens] for row in self._call(texts, add_special_tokens=False)["input_ids"]]
        encoded = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [row.ids[:max_tokens] for row in encoded]

    def encode_with_special(self, texts: Sequence[str], max_tokens: int) -> list[tuple[list[int], list[int]]]:
        """Ids of each text between the model's special tokens, at most `max_tokens`, and a mask of the special ones.

        Both lists of a text have the same length.
        """
        if self._backend is None:
            rows = self._call(texts, truncation=True, max_length=max_tokens, return_special_tokens_mask=True)
            return list(zip(rows["input_ids"], rows["special_tokens_mask"], strict=True))
        room = max(0, max_tokens - self._backend.num_special_tokens_to_add(False))
        made = []
        for row in self._backend.encode_batch_fast(list(texts), add_special_tokens=False):
            if len(row) > room:
                row.truncate(room)
            whole = self._backend.post_process(row, add_special_tokens=True)
            made.append((whole.ids, whole.special_tokens_mask))
        return made

    def _call(self, texts: Sequence[str], **options: Any) -> Any:
        return self.tokenizer(
            list(texts),
            split_special_tokens=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
            **options,
        )
