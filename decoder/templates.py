"""The words around a text, as a template that a user can edit. Knows no tokenizer and no model."""

from ..common import UserError

PLAIN = "{text}\n\n"
INSTRUCTION = (
    "Read the text, identify the correct topic regardless of how frequent that topic is, "
    "and then write the output that belongs to the text and the topic.\n\nText: {text}\n\nTopic and output: "
)
TEMPLATES = {"plain": PLAIN, "instruction": INSTRUCTION}


def resolve_template(prompt: str) -> str:
    """The template named by `prompt` ("plain", "instruction"), or `prompt` itself if it is a template.

    Raises:
        UserError: If it is neither; a template contains `{text}` exactly once.
    """
    template = TEMPLATES.get(prompt, prompt)
    if template.count("{text}") != 1:
        raise UserError(f"prompt {prompt!r} must contain {{text}} exactly once, or be one of: {', '.join(TEMPLATES)}")
    return template
