"""What a fit makes of a base's tokenizer before it trains, and what would stop it there. Knows no weights."""

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from ..common import UserError
from ..corpus import Topics
from ..runtime import positions
from .base import load_config, load_tokenizer
from .control import ControlTokens
from .prompts import Prompt, protect_marks
from .sequences import Sequencer
from .settings import DecoderSettings


def prepare(
    tokenizer: PreTrainedTokenizerBase, topics: Topics, settings: DecoderSettings
) -> tuple[ControlTokens, Prompt, Sequencer]:
    """Add the control tokens to `tokenizer`, render the prompt around every text, and join both.

    Raises:
        UserError: if the chat template fails, a topic's token can be written in a text, or the prompt is too long.
    """
    prompt = Prompt.render(settings.prompt_in_force, tokenizer)
    protect_marks(tokenizer, prompt)
    control = ControlTokens.add(tokenizer, topics.names)
    return control, prompt, Sequencer(tokenizer, control, prompt, settings.max_tokens, settings.condition)


def check_base(settings: DecoderSettings, topics: Topics) -> None:
    """Refuse a base that a fit could not use, as far as its configuration and tokenizer tell; weights are not read.

    Raises:
        UserError: as `prepare`, or if there is no such base, it is an adapter, or it has too few positions.
    """
    if settings.base is not None:
        config = load_config(settings.base)
        _, _, sequencer = prepare(load_tokenizer(settings.base, config), topics, settings)
        check_room(settings, sequencer, config)


def check_room(settings: DecoderSettings, sequencer: Sequencer, config: PreTrainedConfig) -> None:
    """Refuse a base with too few positions for the longest sequence."""
    room = positions(config)
    needed = settings.max_tokens + sequencer.longest_mark + settings.max_target_tokens + 2
    if room is not None and needed > room:
        raise UserError(
            f"max_tokens and max_target_tokens need {needed} positions, but the base {settings.base} has {room}; "
            "make them smaller"
        )
