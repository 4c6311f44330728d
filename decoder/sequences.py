"""Token sequences of the two-stage form, and the last positions of a causal model over them.

    [prompt before] [text] [prompt after] [<force_fairness>] <|topic:NAME|> target <eos>

Knows tokenizers and control tokens, not training or generation. Rows are padded on the left, in training as in
generation, so that what is predicted stands at the end of every row.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..corpus.errors import UserError
from ..training.tokenizing import encode_user_text
from .control import ControlTokens
from .prompts import Prompt

_SHORTEST_TEXT = 16


class Sequencer:
    """Builds the sequences of one decoder.

    Args:
        tokenizer: With the control tokens.
        control: Their ids.
        prompt: Around every text.
        max_tokens: Of prompt and text together; the end of a longer text is cut.

    Raises:
        UserError: if the prompt leaves hardly any room for a text.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, control: ControlTokens, prompt: Prompt, max_tokens: int
    ) -> None:
        self._tokenizer = tokenizer
        self._control = control
        self._before, self._after = prompt.encode(tokenizer)
        self._room = max_tokens - len(self._before) - len(self._after)
        if self._room < _SHORTEST_TEXT:
            taken = max_tokens - self._room
            raise UserError(
                f"max_tokens is {max_tokens}, of which the prompt takes {taken}; "
                f"set it to {taken + _SHORTEST_TEXT} at least, or shorten the prompt"
            )

    def prompts(self, texts: Sequence[str], fairness: bool = False) -> list[list[int]]:
        """The sequences up to where the topic token comes, at most `max_tokens` long (one more with fairness)."""
        parts = encode_user_text(self._tokenizer, texts, self._room)
        reserved = frozenset(self._control.ids)
        if any(not reserved.isdisjoint(part) for part in parts):  # `ControlTokens.check_unreachable` rules this out
            raise RuntimeError("a control token came out of a text; this is a defect of unskew, please report it")
        end = [*self._after, self._control.fairness_id] if fairness else self._after
        return [[*self._before, *part, *end] for part in parts]

    def targets(self, targets: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Targets with the end token; one cut at `max_tokens` has no end token, as it does not end there."""
        end: Any = self._tokenizer.eos_token_id
        encoded = encode_user_text(self._tokenizer, targets, max_tokens + 1)
        return [[*ids, end] if len(ids) <= max_tokens else ids[:max_tokens] for ids in encoded]


def pad_left(rows: Sequence[Sequence[int]], pad_id: int) -> dict[str, Tensor]:
    """Left-pad rows of ids to the longest: `input_ids` and `attention_mask`, both (B, T) int64."""
    longest = max(len(row) for row in rows)
    return {
        "input_ids": torch.tensor([[pad_id] * (longest - len(row)) + list(row) for row in rows]),
        "attention_mask": torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows]),
    }


def last_logits(model: Any, inputs: dict[str, Tensor], last: int) -> Tensor:
    """Logits (B, last, V) at the last positions of left-padded rows; the others are not computed if it can be helped.

    Positions are counted from a row's own first token, as `generate` counts them.
    """
    known = inspect.signature(_plain(model).forward).parameters
    extra: dict[str, Any] = {}
    if "logits_to_keep" in known:
        extra["logits_to_keep"] = last
    if "position_ids" in known:
        extra["position_ids"] = (inputs["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)
    return model(**inputs, **extra, use_cache=False).logits[:, -last:]


def _plain(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model
