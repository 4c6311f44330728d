"""Prompts: the words around a text, as a template that a user can edit. Knows tokenizers' chat templates; no model.

A prompt is rendered once, with a placeholder for the text, and cut there. Only its two halves are trusted: they may
contain special tokens of the base's chat format, the text between them may not.
"""

from dataclasses import dataclass

from transformers import AddedToken, PreTrainedTokenizerBase

from ..common import UserError, first_line
from .templates import resolve_template

_PLACEHOLDER = "UNSKEWTEXTPLACEHOLDER"


@dataclass(frozen=True)
class Prompt:
    """The strings before and after the text, including special tokens of the base's chat format."""

    before: str
    after: str

    @classmethod
    def render(cls, prompt: str, tokenizer: PreTrainedTokenizerBase) -> "Prompt":
        """Render a template; if the tokenizer has a chat template, as the user's turn in it.

        The result is stored with a fitted decoder and not rendered again, because a chat template may contain today's
        date.

        Raises:
            UserError: If the chat template fails, or changes the text of the turn.
        """
        template = resolve_template(prompt)
        if not tokenizer.chat_template:
            before, _, after = template.partition("{text}")
            return cls(_start_token(tokenizer) + before, after)
        turn = [{"role": "user", "content": template.replace("{text}", _PLACEHOLDER)}]
        try:
            rendered = str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
        except Exception as error:  # of any kind: a template is a program
            raise UserError(
                f"the base's chat template cannot render a single user turn ({first_line(error)}); choose a base with "
                "an ordinary chat template, or remove chat_template from a copy of this base"
            ) from error
        before, found, after = rendered.partition(_PLACEHOLDER)
        if not found or _PLACEHOLDER in after:
            raise UserError(
                "the base's chat template does not render the user's turn exactly once; choose a base with an "
                "ordinary chat template, or with none"
            )
        return cls(before, after)

    def encode(self, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
        """Token ids of both halves, in which special tokens are read as such."""

        def ids(half: str) -> list[int]:
            return list(tokenizer(half, add_special_tokens=False, split_special_tokens=False)["input_ids"])

        return ids(self.before), ids(self.after)


def protect_chat_tokens(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> None:
    """Make every chat token in the prompt special, so that no text can contain it: some bases leave theirs ordinary."""
    exposed = [
        AddedToken(token.content, special=True, normalized=False)
        for token in tokenizer.added_tokens_decoder.values()
        if not token.special and token.content in prompt.before + prompt.after
    ]
    if exposed:
        tokenizer.add_special_tokens({"extra_special_tokens": exposed}, replace_extra_special_tokens=False)


def _start_token(tokenizer: PreTrainedTokenizerBase) -> str:
    start = tokenizer.bos_token
    ids = tokenizer("a")["input_ids"]
    return str(start) if start is not None and ids[:1] == [tokenizer.bos_token_id] else ""
