"""Scores topics with an untrained base, by the names it would write after a text. Knows no training.

A reference: how much a language model knows about the topics from their names alone.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..corpus import Topics
from ..runtime import group_by_length
from .base import pad_id_of
from .preparation import Prepared, read_base
from .sequences import Sequencer, pad_left, plain
from .settings import DecoderSettings
from .target_logits import shared_tokens, target_logits

TOKENS = 2048  # padded tokens in a batch
ROWS = 16_384  # rows, each a text with a topic's name, that are held at a time


class ZeroShot:
    """Scores topics by their names, each in the line `Topic: NAME` after the prompt.

    Args:
        parts: Untrained base with its tokenizer and prompt.
        max_tokens: Most tokens of prompt and text together.
    """

    def __init__(self, parts: Prepared, max_tokens: int) -> None:
        self.model = parts.model.eval()
        self.topics = parts.control.topics
        self._sequencer = Sequencer(parts.tokenizer, parts.control, parts.prompt, max_tokens, "text")
        self._pad_id = pad_id_of(parts.tokenizer)
        self._shared = shared_tokens(plain(parts.model), self._sequencer.prefix, self._pad_id)

    @classmethod
    def read(cls, base: str, topics: Topics, settings: DecoderSettings) -> "ZeroShot":
        """Load a base from the hub or a folder, with the prompt of `settings`.

        Raises:
            UserError: As `read_base`.
        """
        return cls(read_base(base, topics, settings), settings.max_tokens)

    @torch.inference_mode()
    def logits(self, texts: Sequence[str]) -> torch.Tensor:
        """Log-probability (n, C) of each topic's name with the end of its line, float32 on the CPU."""
        size = max(1, ROWS // len(self.topics))
        parts = [self._logits(texts[start : start + size]) for start in range(0, len(texts), size)]
        return torch.cat([torch.empty(0, len(self.topics)), *parts])

    def _logits(self, texts: Sequence[str]) -> torch.Tensor:
        start = self._sequencer.topic_line_start()
        lines = [self._sequencer.topic_tokens(topic) for topic in self.topics]
        rows = [[*prompt, *line] for prompt in self._sequencer.prompts(texts) for line in lines]
        named = [len(line) - len(start) for line in lines] * len(texts)
        found = torch.empty(len(rows))
        for batch in group_by_length(range(len(rows)), [len(row) for row in rows], TOKENS):
            inputs = pad_left([rows[i] for i in batch], self._pad_id)
            inputs = {name: tensor.to(self.model.device) for name, tensor in inputs.items()}
            ids = inputs["input_ids"]
            counts = torch.tensor([named[i] for i in batch], device=ids.device)
            columns = torch.arange(ids.shape[1], device=ids.device)
            said = columns >= ids.shape[1] - counts[:, None]
            logits = target_logits(
                self.model, inputs, said.roll(-1, dims=1) & (columns < ids.shape[1] - 1), self._shared
            )
            each = -F.cross_entropy(logits.float(), ids[said], reduction="none")
            found[batch] = torch.stack([part.sum() for part in each.split(counts.tolist())]).cpu()
        return found.view(len(texts), len(self.topics))
