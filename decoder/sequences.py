"""Token sequences of the two-stage form, and the last positions of a causal model over them.

    [prompt before] [text] [prompt after] [<force_fairness>] <|topic:NAME|> target <eos>

or, if the topic is given as text, with the line `Topic: NAME` instead of its token, or before it.

Knows tokenizers and control tokens; knows nothing of training or generation. Rows are padded on the left in both, so
that predicted tokens are at the end of every row.
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
        tokenizer: Tokenizer with the control tokens.
        control: Ids of the control tokens.
        prompt: Prompt around every text.
        max_tokens: Most tokens of prompt and text together; longer texts are cut at their end.
        condition: How a topic is given, see `DecoderSettings`.

    Raises:
        UserError: If the prompt leaves hardly any room for a text.
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
                f"max_tokens is {max_tokens}, and the prompt alone takes {taken}; give at least "
                f"{taken + _SHORTEST_TEXT}, or shorten the prompt"
            )

    def prompts(self, texts: Sequence[str], fairness: bool = False) -> list[list[int]]:
        """The sequences up to the topic token, at most `max_tokens` long (one more with fairness)."""
        end = [*self._after, self._control.fairness_id] if fairness else self._after
        return [[*self._before, *part, *end] for part in self.texts(texts)]

    def texts(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, cut to the room that the prompt leaves."""
        parts = encode_user_text(self._reader, texts, self._room)
        reserved = frozenset(self._control.ids)
        if any(not reserved.isdisjoint(part) for part in parts):  # `ControlTokens.check_unreachable` rules this out
            raise RuntimeError("a text was tokenised to a control token; this is a bug in unskew, please report it")
        return parts

    @property
    def prefix(self) -> list[int]:
        """The tokens that every sequence begins with."""
        return self._before

    @property
    def after_text(self) -> list[int]:
        """The tokens between text and topic, without the fairness token."""
        return self._after

    @property
    def room(self) -> int:
        """Most tokens of a text."""
        return self._room

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the texts; read its attributes, but do not call it."""
        return self._reader.tokenizer

    @property
    def most_topic_tokens(self) -> int:
        """Length of the longest `topic_tokens`."""
        return max(len(tokens) for tokens in self._topic_tokens.values())

    def topic_tokens(self, topic: str) -> list[int]:
        """The tokens that give the topic, between prompt and target: its control token, or its line of text.

        Raises:
            UserError: If the decoder does not know the topic.
        """
        if topic not in self._topic_tokens:
            self._control.topic_id(topic)  # its error lists the known topics
        return self._topic_tokens[topic]

    def text_span(self, prompt: Sequence[int]) -> tuple[int, int]:
        """Start and end (exclusive) of the text's own tokens in one of `prompts`, without fairness."""
        return len(self._before), len(prompt) - len(self._after)

    def topic_line_start(self) -> list[int]:
        """The tokens of a topic's line before the name."""
        return encode_user_text(self._reader, [TOPIC_LINE], _LONGEST_LINE)[0]

    def targets(self, targets: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Targets with the end token; a target that is cut at `max_tokens` has none, because it does not end there."""
        encoded = encode_user_text(self._reader, targets, max_tokens + 1)
        return [[*ids, self._end_id] if len(ids) <= max_tokens else ids[:max_tokens] for ids in encoded]

    def _lines(self, topics: Sequence[str]) -> list[list[int]]:
        # Encoded as user text, because a topic's name may look like a special token of the base.
        return encode_user_text(self._reader, [f"{TOPIC_LINE} {name}\n" for name in topics], _LONGEST_LINE)


def pad_left(rows: Sequence[Sequence[int]], pad_id: int) -> dict[str, Tensor]:
    """Left-pad rows of ids to the longest: `input_ids` and `attention_mask`, both (B, T) int64."""
    longest = max(len(row) for row in rows)
    return {
        "input_ids": torch.tensor([[pad_id] * (longest - len(row)) + list(row) for row in rows]),
        "attention_mask": torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows]),
    }


def last_logits(model: Any, inputs: dict[str, Tensor], last: int) -> Tensor:
    """Logits (B, last, V) at the last positions of left-padded rows; other positions are left out if the model allows.

    Positions are counted from a row's own first token, as in `generate`.
    """
    known = inspect.signature(plain(model).forward).parameters
    extra: dict[str, Any] = {}
    if "logits_to_keep" in known:
        extra["logits_to_keep"] = last
    if "position_ids" in known:
        extra["position_ids"] = (inputs["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)
    return model(**inputs, **extra, use_cache=False).logits[:, -last:]


def make_head_inputs_contiguous(model: Any) -> None:
    """Copy what the output matrix multiplies where it is a slice, such as the last position of each row.

    torch multiplies such a slice row by row, each with its own copy of the matrix: for eight rows of a vocabulary of
    49,000 it takes 5 times as long on a CPU in float32, and 130 times in bfloat16.
    """
    head = plain(model).get_output_embeddings()
    if head is not None:
        head.register_forward_pre_hook(_contiguous)


def _contiguous(head: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0].contiguous(), *inputs[1:])


def last_hidden(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """The inputs (B, D) of the output matrix at the last position of left-padded rows."""
    kept: list[Tensor] = []
    head = plain(model).get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, given: kept.append(given[0][:, -1]))
    try:
        last_logits(model, inputs, last=1)
    finally:
        hook.remove()
    return kept[0]


def plain(model: Any) -> Any:
    """The language model without the adapter around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
