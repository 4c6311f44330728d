"""Prepares a base for a fit, and refuses a base that cannot be used. Knows no records."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from ..common import UserError, check_disk, first_line
from ..corpus import Topics
from ..runtime import positions
from ..training import checkpoint_bytes
from .adaptation import Model, adapt
from .base import check_padding, load_config, load_model, load_tokenizer, pad_id_of
from .control import ControlTokens, make_rows
from .prompts import Prompt, protect_chat_tokens
from .sequences import Sequencer, last_logits, pad_left
from .settings import DecoderSettings


@dataclass(frozen=True)
class Prepared:
    """A model with the control tokens, and everything needed to train and use it."""

    model: Model
    tokenizer: PreTrainedTokenizerBase
    control: ControlTokens
    prompt: Prompt
    sequencer: Sequencer


def prepare(
    tokenizer: PreTrainedTokenizerBase, topics: Topics, settings: DecoderSettings
) -> tuple[ControlTokens, Prompt, Sequencer]:
    """Add the control tokens to `tokenizer`, render the prompt, and make the sequencer of both.

    Raises:
        UserError: If the chat template fails, a text could contain a topic's token, or the prompt is too long.
    """
    prompt = Prompt.render(settings.prompt_in_force, tokenizer)
    protect_chat_tokens(tokenizer, prompt)
    control = ControlTokens.add(tokenizer, topics.names)
    return control, prompt, Sequencer(tokenizer, control, prompt, settings.max_tokens, settings.condition)


def read_base(base: str, topics: Topics, settings: DecoderSettings) -> Prepared:
    """A pretrained model with a row for every control token, its tokenizer and its sequencer.

    Raises:
        UserError: As `prepare`; if the base cannot be loaded, has too few positions or does not mask padding.
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
    """Refuse a base that a fit could not use, before hours of other work, by preparing it as a fit does.

    Args:
        settings: Settings of the fit.
        topics: Topics of the clean set.
        folder: Folder of the checkpoints.

    Raises:
        UserError: As `read_base`; if the base cannot be adapted, fails once it is, or the disk has no room for the
            checkpoints.
    """
    if settings.base is None:
        return
    config = load_config(settings.base)  # these checks need no weights
    _, _, sequencer = prepare(load_tokenizer(settings.base, config), topics, settings)
    check_room(settings, sequencer, config)
    parts = read_base(settings.base, topics, settings)
    with torch.random.fork_rng(devices=[]):
        adapted = adapt(parts.model, parts.control, settings)
    _check_runs(adapted, parts, settings)
    saved = 0 if settings.adaptation == "lora" else sum(p.numel() * p.element_size() for p in adapted.parameters())
    check_disk(folder, checkpoint_bytes(adapted) + saved)


@torch.inference_mode()
def _check_runs(adapted: Model, parts: Prepared, settings: DecoderSettings) -> None:
    rows = parts.sequencer.prompts(["one"])
    try:
        last_logits(adapted.eval(), pad_left(rows, pad_id_of(parts.tokenizer)), last=1)
    except Exception as error:  # of any kind: an adapter may replace layers that a model uses in its own way
        raise UserError(
            f"the base {settings.base} fails with adaptation {settings.adaptation} ({first_line(error)}); use "
            "adaptation top_blocks or full, or choose another base"
        ) from error


def check_room(settings: DecoderSettings, sequencer: Sequencer, config: PreTrainedConfig) -> None:
    """Refuse a base with too few positions for the longest sequence."""
    room = positions(config)
    needed = settings.max_tokens + sequencer.most_topic_tokens + settings.max_target_tokens + 2
    if room is not None and needed > room:
        raise UserError(
            f"max_tokens and max_target_tokens need {needed} positions, but the base {settings.base} has {room}; "
            "reduce them"
        )
