from .adaptation import AdaptationFacts, merge
from .control import FAIRNESS_TOKEN, ControlTokens, topic_token
from .fitting import fit_decoder
from .generation import Watch
from .preparation import check_base
from .sampling import implied_topic_prior, topic_loss_link
from .settings import BALANCED_RATIO, DecoderSettings, GenerationSettings, Writer
from .stored import StoredAdapter, StoredDecoder
from .templates import INSTRUCTION, PLAIN, TEMPLATES
from .topic_decoder import TopicDecoder
from .vllm_backend import check_writer

__all__ = [
    "AdaptationFacts",
    "BALANCED_RATIO",
    "ControlTokens",
    "DecoderSettings",
    "FAIRNESS_TOKEN",
    "GenerationSettings",
    "INSTRUCTION",
    "PLAIN",
    "StoredAdapter",
    "StoredDecoder",
    "TEMPLATES",
    "TopicDecoder",
    "Watch",
    "Writer",
    "check_base",
    "check_writer",
    "fit_decoder",
    "implied_topic_prior",
    "merge",
    "topic_loss_link",
    "topic_token",
]
