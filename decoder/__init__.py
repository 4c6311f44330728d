"""unskew.decoder: stage 2, the topic-conditioned writer; knows nothing of the encoder."""

from .adaptation import AdaptationFacts
from .control import FAIRNESS_TOKEN, ControlTokens, topic_token
from .drawing import implied_topic_prior
from .fitting import fit_decoder
from .generation import GenerationSettings
from .prompts import INSTRUCTION, PLAIN, TEMPLATES
from .settings import DecoderSettings
from .topic_decoder import TopicDecoder
from .vllm_writer import Writer, check_writer

__all__ = [
    "FAIRNESS_TOKEN",
    "INSTRUCTION",
    "PLAIN",
    "TEMPLATES",
    "AdaptationFacts",
    "ControlTokens",
    "DecoderSettings",
    "GenerationSettings",
    "TopicDecoder",
    "Writer",
    "check_writer",
    "fit_decoder",
    "implied_topic_prior",
    "topic_token",
]
