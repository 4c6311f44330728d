"""Control tokens: one per topic, and `<force_fairness>`. Knows tokenizers and embedding rows, not training.

They enter a sequence as integers and never through text: `check_unreachable` makes sure that no text is tokenised to
their ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from transformers import AddedToken, PreTrainedModel, PreTrainedTokenizerBase

from ..common import UserError
from ..runtime import embedding_matrices, encode_user_text, grow_embedding

FAIRNESS_TOKEN = "<force_fairness>"
_FAIRNESS_NAME = "force fairness"
_LONGEST_NAME = 64  # tokens of a topic's name whose mean initialises its row


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
        """Add the control tokens that `tokenizer` lacks, and return the ids of all control tokens.

        Raises:
            UserError: If a word of the tokenizer has the id of a control token, or a text could contain one.
        """
        tokens = [*(topic_token(name) for name in topics), FAIRNESS_TOKEN]
        # normalized=False: otherwise a tokenizer with NFKC would read full-width look-alikes as the token.
        added = [AddedToken(token, special=True, normalized=False) for token in tokens]
        tokenizer.add_special_tokens({"extra_special_tokens": added}, replace_extra_special_tokens=False)
        vocabulary = tokenizer.get_vocab()
        ids = [vocabulary[token] for token in tokens]
        _check_free(vocabulary, dict(zip(ids, tokens, strict=True)))
        control = cls(tuple(topics), tuple(ids[:-1]), ids[-1])
        control.check_unreachable(tokenizer)
        return control

    @property
    def ids(self) -> tuple[int, ...]:
        """All control ids: the topics' in order, then `<force_fairness>`."""
        return (*self.topic_ids, self.fairness_id)

    def topic_id(self, name: str) -> int:
        """The id of a topic's token.

        Raises:
            UserError: If the decoder does not know the topic.
        """
        try:
            return self._id_of[name]
        except KeyError:
            known = ", ".join(self.topics[:20])
            raise UserError(f"topic {name!r} is unknown to the decoder; give one of {known}") from None

    @cached_property
    def _id_of(self) -> dict[str, int]:
        return dict(zip(self.topics, self.topic_ids, strict=True))

    def check_unreachable(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Check that no text can contain a control token.

        Raises:
            UserError: If the base's own vocabulary has one as an ordinary token.
        """
        tokens, own = [*(topic_token(name) for name in self.topics), FAIRNESS_TOKEN], set(self.ids)
        for token, ids in zip(tokens, encode_user_text(tokenizer, tokens, len(tokens[0]) * 64), strict=True):
            if not own.isdisjoint(ids):
                raise UserError(
                    f"the base's vocabulary has {token!r} as an ordinary token, so a text could contain it; rename "
                    "the topic or choose another base"
                )


def _check_free(vocabulary: dict[str, int], tokens: dict[int, str]) -> None:
    # tokenizers numbers added tokens from the size of the vocabulary, even where ids below its largest are unused.
    for word, number in vocabulary.items():
        if tokens.get(number, word) != word:
            raise UserError(
                f"the base's vocabulary has unused ids, so {tokens[number]!r} would get the id {number} of its word "
                f"{word!r}; renumber the vocabulary without gaps, or choose another base"
            )


def make_rows(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, control: ControlTokens, new: Sequence[int]
) -> None:
    """Give the control tokens rows in the model's embedding, and initialise those of `new` deterministically.

    Spare rows are used if there are any; otherwise the matrix grows. A row starts as the mean of the rows of its
    topic's name, in the input embedding and in an untied output matrix.

    Args:
        model: Model to change in place.
        tokenizer: Tokenizer with the control tokens.
        control: Ids of the control tokens.
        new: Ids among them that the model was not trained with.
    """
    grow_embedding(model, tokenizer, multiple=64)  # a multiple that suits a GPU's matrix units
    names = dict(zip(control.ids, (*control.topics, _FAIRNESS_NAME), strict=True))
    wanted = set(new)
    new_ids = [i for i in names if i in wanted]
    encoded = encode_user_text(tokenizer, [names[i] for i in new_ids], _LONGEST_NAME)
    for matrix in embedding_matrices(model):
        with torch.no_grad():
            for row, parts in zip(new_ids, encoded, strict=True):
                matrix[row] = matrix[parts].float().mean(dim=0).to(matrix.dtype)
