"""Control tokens: one per topic, and `<force_fairness>`. Knows tokenizers and embedding rows, not training.

They enter a sequence as integers and never through text: `check_unreachable` makes sure that no text yields their ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import AddedToken, PreTrainedModel, PreTrainedTokenizerBase

from ..common import UserError
from ..runtime import embedding_matrices, encode_user_text, grow_embedding

FAIRNESS_TOKEN = "<force_fairness>"
_FAIRNESS_NAME = "force fairness"
_LONGEST_NAME = 64  # tokens of a topic's name that count for the first value of its row


def topic_token(name: str) -> str:
    """The control token of a topic."""
    return f"<|topic:{name}|>"


@dataclass(frozen=True)
class ControlTokens:
    """The ids of a tokenizer's control tokens; `topics` and `topic_ids` correspond."""

    topics: tuple[str, ...]
    topic_ids: tuple[int, ...]
    fairness_id: int

    @classmethod
    def add(cls, tokenizer: PreTrainedTokenizerBase, topics: Sequence[str]) -> "ControlTokens":
        """Add the control tokens that `tokenizer` does not have yet, and return the ids of all."""
        tokens = [*(topic_token(name) for name in topics), FAIRNESS_TOKEN]
        # normalized=False: otherwise full-width look-alikes would count as the token under an NFKC tokenizer.
        added = [AddedToken(token, special=True, normalized=False) for token in tokens]
        tokenizer.add_special_tokens({"extra_special_tokens": added}, replace_extra_special_tokens=False)
        vocabulary = tokenizer.get_vocab()
        ids = [vocabulary[token] for token in tokens]
        control = cls(tuple(topics), tuple(ids[:-1]), ids[-1])
        control.check_unreachable(tokenizer)
        return control

    @property
    def ids(self) -> tuple[int, ...]:
        """All of them, in the order of the topics, fairness last."""
        return (*self.topic_ids, self.fairness_id)

    def topic_id(self, name: str) -> int:
        """The id of a topic's token.

        Raises:
            UserError: if the decoder does not know the topic.
        """
        try:
            return self.topic_ids[self.topics.index(name)]
        except ValueError:
            known = ", ".join(self.topics[:20])
            raise UserError(f"topic {name!r} is not one the decoder was fitted with: {known}") from None

    def check_unreachable(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Make sure that no control token can be written in a text.

        Raises:
            UserError: if the base's own vocabulary holds one as an ordinary piece.
        """
        tokens = [*(topic_token(name) for name in self.topics), FAIRNESS_TOKEN]
        for token, ids in zip(tokens, encode_user_text(tokenizer, tokens, len(tokens[0]) * 64), strict=True):
            if not set(self.ids).isdisjoint(ids):
                raise UserError(
                    f"the base's vocabulary has {token!r} as an ordinary piece, which a text could write; "
                    "rename the topic or choose another base"
                )


def make_rows(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, control: ControlTokens, new: Sequence[int]
) -> None:
    """Give the control tokens rows in the model's embedding, those of `new` a deterministic first value.

    Spare rows are used where the vocabulary has them; otherwise it grows. A row starts as the mean of the rows of its
    topic's name, in the input embedding and, where that is another matrix, in the output one.

    Args:
        model: Changed in place.
        tokenizer: With the control tokens.
        control: Their ids.
        new: The ids among them that the model has not been trained with.
    """
    grow_embedding(model, tokenizer, multiple=64)  # what suits a GPU's matrix units
    names = dict(zip(control.ids, (*control.topics, _FAIRNESS_NAME), strict=True))
    new_ids = [i for i in names if i in set(new)]
    encoded = encode_user_text(tokenizer, [names[i] for i in new_ids], _LONGEST_NAME)
    for matrix in embedding_matrices(model):
        with torch.no_grad():
            for row, parts in zip(new_ids, encoded, strict=True):
                matrix[row] = matrix[parts].float().mean(dim=0).to(matrix.dtype)
