"""What a fit makes of a base before it trains, and what would stop it there. Knows no records."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from ..common import UserError, check_disk
from ..corpus import Topics
from ..runtime import positions
from ..training import checkpoint_bytes
from .adaptation import Model, adapt
from .base import check_padding, load_config, load_model, load_tokenizer, pad_id_of
from .control import ControlTokens, make_rows
from .prompts import Prompt, protect_marks
from .sequences import Sequencer
from .settings import DecoderSettings


@dataclass(frozen=True)
class Prepared:
    """A model that knows the control tokens, and what is needed to train it and to use it."""

    model: Model
    tokenizer: PreTrainedTokenizerBase
    control: ControlTokens
    prompt: Prompt
    sequencer: Sequencer


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


def read_base(base: str, topics: Topics, settings: DecoderSettings) -> Prepared:
    """A pretrained model with a row for every control token, and all that belongs to it.

    Raises:
        UserError: as `prepare`, or if the base cannot be loaded, has too few positions or does not mask padding.
    """
    model = load_model(base)
    tokenizer = load_tokenizer(base, model.config)
    known = set(tokenizer.get_vocab().values())
    control, prompt, sequencer = prepare(tokenizer, topics, settings)
    check_room(settings, sequencer, model.config)
    make_rows(model, tokenizer, control, new=[i for i in control.ids if i not in known])
    check_padding(model, sequencer.prompts(["one", "one two three four five six"]), pad_id_of(tokenizer))
    return Prepared(model, tokenizer, control, prompt, sequencer)


def check_base(settings: DecoderSettings, topics: Topics, folder: Path) -> None:
    """Refuse a base that a fit could not use, before hours of other work: all is done to it that a fit does first.

    Args:
        settings: Settings of the fit.
        topics: Topics of the clean set.
        folder: Where checkpoints will go.

    Raises:
        UserError: as `read_base`, if it cannot be adapted, or the disk has no room for the checkpoints.
    """
    if settings.base is None:
        return
    config = load_config(settings.base)  # what configuration and tokenizer tell does not wait for the weights
    _, _, sequencer = prepare(load_tokenizer(settings.base, config), topics, settings)
    check_room(settings, sequencer, config)
    parts = read_base(settings.base, topics, settings)
    with torch.random.fork_rng(devices=[]):
        adapted = adapt(parts.model, parts.control, settings)
    saved = 0 if settings.adaptation == "lora" else sum(p.numel() * p.element_size() for p in adapted.parameters())
    check_disk(folder, checkpoint_bytes(adapted) + saved)


def check_room(settings: DecoderSettings, sequencer: Sequencer, config: PreTrainedConfig) -> None:
    """Refuse a base with too few positions for the longest sequence."""
    room = positions(config)
    needed = settings.max_tokens + sequencer.longest_mark + settings.max_target_tokens + 2
    if room is not None and needed > room:
        raise UserError(
            f"max_tokens and max_target_tokens need {needed} positions, but the base {settings.base} has {room}; "
            "make them smaller"
        )
