"""What a decoder can do only if it was trained for it, from the decoder or its decoder.json. Loads no model."""

from typing import TYPE_CHECKING

from ..common import UserError
from ..runtime import positions
from .settings import GenerationSettings

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from .stored import StoredDecoder
    from .topic_decoder import TopicDecoder


def check_abilities(decoder: "TopicDecoder | StoredDecoder", guidance: float, fairness: bool) -> None:
    """Check that a decoder was trained for the requested options.

    Raises:
        UserError: If guidance is requested and it never wrote without a topic or its base cannot be guided, or fairness
            and it never saw `<force_fairness>`.
    """
    if guidance != 1 and not decoder.unguided:
        raise UserError(
            "guidance needs a decoder that can also write without a topic, and this one cannot; set guidance to "
            "1, or fit with a topic_dropout such as 0.1, on a base without sliding windows"
        )
    if fairness and not decoder.fairness:
        raise UserError(
            "fairness needs a decoder trained with <force_fairness>, and this one was not; set fairness to false, or "
            "fit with --decoder.fairness true"
        )


def check_length(
    decoder: "TopicDecoder | StoredDecoder",
    config: "PreTrainedConfig",
    topic_tokens: int,
    options: GenerationSettings,
    fairness: bool,
) -> None:
    """Check that the model has positions for the longest prompt and output, as a fit does for its own lengths.

    Args:
        decoder: Decoder with its limits.
        config: Configuration of its model.
        topic_tokens: Tokens that give a topic.
        options: Options of generation.
        fairness: Whether `<force_fairness>` precedes the topic.

    Raises:
        UserError: If it has fewer.
    """
    room = positions(config)
    if options.max_new_tokens is None or room is None:
        return
    most = room - decoder.max_tokens - fairness - topic_tokens
    if options.max_new_tokens > most:
        raise UserError(
            f"max_new_tokens is {options.max_new_tokens:,}, but the decoder's base has {room:,} positions, of which "
            f"the longest prompt leaves {max(0, most):,}; reduce it"
        )
