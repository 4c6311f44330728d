"""Token sequences of the two-stage form, and the last positions of a causal model over them.

    [prompt before] [text] [prompt after] [<force_fairness>] <|topic:NAME|> target <eos>

or, where the topic is given as text, with the line `Topic: NAME` in the place of its token, or before it.

Knows tokenizers and control tokens, not training or generation. Rows are padded on the left, in training as in
generation, so that what is predicted is at the end of every row.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..common import UserError
from ..runtime import TextTokenizer, encode_user_text
from .control import ControlTokens
from .prompts import Prompt
from .settings import Condition

TOPIC_LINE = "Topic:"
_SHORTEST_TEXT = 16
_LONGEST_LINE = 128


class Sequencer:
    """Builds the sequences of one decoder.

    Args:
        tokenizer: With the control tokens.
        control: Their ids.
        prompt: Around every text.
        max_tokens: Most tokens of prompt and text together; the end of a longer text is cut.
        condition: How a topic is given, see `DecoderSettings`.

    Raises:
        UserError: if the prompt leaves hardly any room for a text.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        control: ControlTokens,
        prompt: Prompt,
        max_tokens: int,
        condition: Condition = "token",
    ) -> None:
        self._reader = TextTokenizer.private(tokenizer)
        self._control = control
        self._end_id: Any = tokenizer.eos_token_id
        self._before, self._after = prompt.encode(tokenizer)
        self._topic_tokens = dict(zip(control.topics, ([i] for i in control.topic_ids), strict=True))
        if condition != "token":
            tokens = self._topic_tokens.values() if condition == "both" else [[]] * len(control.topics)
            lines = zip(self._lines(control.topics), tokens, strict=True)
            self._topic_tokens = {name: [*line, *its] for name, (line, its) in zip(control.topics, lines, strict=True)}
        self._room = max_tokens - len(self._before) - len(self._after)
        if self._room < _SHORTEST_TEXT:
            taken = max_tokens - self._room
            raise UserError(
                f"max_tokens is {max_tokens}, of which the prompt takes {taken}; "
                f"set it to {taken + _SHORTEST_TEXT} at least, or shorten the prompt"
            )

    def prompts(self, texts: Sequence[str], fairness: bool = False) -> list[list[int]]:
        """The sequences up to where the topic token comes, at most `max_tokens` long (one more with fairness)."""
        end = [*self._after, self._control.fairness_id] if fairness else self._after
        return [[*self._before, *part, *end] for part in self.texts(texts)]

    def texts(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, cut where there is no more room beside the prompt."""
        parts = encode_user_text(self._reader, texts, self._room)
        reserved = frozenset(self._control.ids)
        if any(not reserved.isdisjoint(part) for part in parts):  # `ControlTokens.check_unreachable` rules this out
            raise RuntimeError("a control token came out of a text; this is a defect of unskew, please report it")
        return parts

    @property
    def prefix(self) -> list[int]:
        """The tokens that every sequence begins with."""
        return self._before

    @property
    def after_text(self) -> list[int]:
        """The tokens between text and topic, without fairness."""
        return self._after

    @property
    def room(self) -> int:
        """The most tokens of a text."""
        return self._room

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Which reads texts here: to be looked at, not called."""
        return self._reader.tokenizer

    @property
    def longest_mark(self) -> int:
        """Tokens that the longest `topic_tokens` has."""
        return max(len(mark) for mark in self._topic_tokens.values())

    def topic_tokens(self, topic: str) -> list[int]:
        """What gives the topic, between prompt and target: its token, or its line of text.

        Raises:
            UserError: if the decoder does not know the topic.
        """
        if topic not in self._topic_tokens:
            self._control.topic_id(topic)  # says which topics are known
        return self._topic_tokens[topic]

    def text_span(self, prompt: Sequence[int]) -> tuple[int, int]:
        """Where the text's own tokens start and stop in one of `prompts`, made without fairness."""
        return len(self._before), len(prompt) - len(self._after)

    def topic_line_start(self) -> list[int]:
        """The tokens of a topic's line before its name."""
        return encode_user_text(self._reader, [TOPIC_LINE], _LONGEST_LINE)[0]

    def targets(self, targets: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Targets with the end token; one cut at `max_tokens` has no end token, as it does not end there."""
        encoded = encode_user_text(self._reader, targets, max_tokens + 1)
        return [[*ids, self._end_id] if len(ids) <= max_tokens else ids[:max_tokens] for ids in encoded]

    def _lines(self, topics: Sequence[str]) -> list[list[int]]:
        # As user text: a topic may be named like a mark of the base's format.
        return encode_user_text(self._reader, [f"{TOPIC_LINE} {name}\n" for name in topics], _LONGEST_LINE)


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
    known = inspect.signature(plain(model).forward).parameters
    extra: dict[str, Any] = {}
    if "logits_to_keep" in known:
        extra["logits_to_keep"] = last
    if "position_ids" in known:
        extra["position_ids"] = (inputs["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)
    return model(**inputs, **extra, use_cache=False).logits[:, -last:]


def last_hidden(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """What the output matrix gets (B, D) at the last position of left-padded rows."""
    kept: list[Tensor] = []
    head = plain(model).get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, given: kept.append(given[0][:, -1]))
    try:
        last_logits(model, inputs, last=1)
    finally:
        hook.remove()
    return kept[0]


def plain(model: Any) -> Any:
    """The language model itself, without the adapter around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
