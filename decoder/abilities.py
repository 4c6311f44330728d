"""What a decoder can do only if it was trained for it, from the decoder or its decoder.json. Loads no model."""

from typing import TYPE_CHECKING

from ..common import UserError

if TYPE_CHECKING:
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
