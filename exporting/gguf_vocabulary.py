"""A byte-level tokenizer in the terms of GGUF: tokens, their kinds, merges, and the name of its pre-tokenizer.

Knows tokenizer.json as `tokenizers` writes it; knows no weights.
"""

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..common import UserError

# llama.cpp has a fixed list of pre-tokenizers, by name (src/llama-vocab.cpp).
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLITS = {_LLAMA3: "llama-bpe", _LLAMA3.replace("{1,3}", ""): "qwen2"}


@dataclass(frozen=True)
class GgufVocabulary:
    """The parts of a tokenizer that llama.cpp needs.

    Attributes:
        tokens: String of each row of the embedding.
        kinds: Kind of each token, as numbered by `gguf.TokenType`.
        merges: Merged pairs in order, with a blank between.
        splitting: llama.cpp's name of the pre-tokenizer.
        text_start: String that the tokenizer puts before every text and llama.cpp does not.
    """

    tokens: list[str]
    kinds: list[int]
    merges: list[str]
    splitting: str
    text_start: str


def read_vocabulary(tokenizer: PreTrainedTokenizerBase, rows: int) -> GgufVocabulary:
    """The vocabulary of a tokenizer, for a model with this number of embedding rows.

    Special tokens become control tokens, which llama.cpp reads from a text only on request.

    Raises:
        UserError: If it is not a byte-level BPE tokenizer, or llama.cpp does not know its pre-tokenizer.
    """
    import json

    from gguf import TokenType

    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    stored = json.loads(backend.to_str()) if backend is not None else {"model": {"type": "none"}, "pre_tokenizer": None}
    if stored["model"]["type"] != "BPE" or stored["model"]["byte_fallback"]:
        raise UserError(
            "gguf needs a byte-level BPE tokenizer, such as those of SmolLM2, Llama 3 or Qwen2; export it as merged"
        )
    tokens = [f"[PAD{row}]" for row in range(rows)]  # rows that only pad the matrix
    kinds = [int(TokenType.UNUSED)] * rows
    for token, row in tokenizer.get_vocab().items():
        tokens[row], kinds[row] = token, int(TokenType.NORMAL)
    for added in stored["added_tokens"]:
        kinds[added["id"]] = int(TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED)
    merges = [its if isinstance(its, str) else " ".join(its) for its in stored["model"]["merges"]]
    return GgufVocabulary(tokens, kinds, merges, _splitting(stored["pre_tokenizer"]), _text_start(stored["normalizer"]))


def _splitting(stored: Any) -> str:
    steps: list[dict[str, Any]] = (
        stored["pretokenizers"] if stored and stored["type"] == "Sequence" else [stored or {"type": "none"}]
    )
    kinds = [step["type"] for step in steps]
    last = steps[-1]
    if kinds[-1] == "ByteLevel" and not last["add_prefix_space"]:
        if kinds == ["ByteLevel"] and last["use_regex"]:
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"] and last["use_regex"]:
            return "smollm"
        pattern = steps[0]["pattern"].get("Regex") if kinds == ["Split", "ByteLevel"] else None
        if pattern in _SPLITS and steps[0]["behavior"] == "Isolated" and not steps[0]["invert"]:
            return _SPLITS[pattern]
    raise UserError(
        f"llama.cpp does not know the pre-tokenizer of the decoder's tokenizer ({' and '.join(kinds)}); export it as "
        "merged"
    )


def _text_start(stored: Any) -> str:
    match stored:
        case None | {"type": "NFC"}:  # llama.cpp does not normalise, and nearly all texts are in that form already
            return ""
        case {"type": "Prepend", "prepend": start}:
            return start
    raise UserError(f"llama.cpp lacks the normaliser of the decoder's tokenizer ({stored['type']}); export as merged")
