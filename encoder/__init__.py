"""unskew.encoder: stage 1, the topic classifier: its settings, its training, its fast prediction; no decoder."""

from .classifier import TopicClassifier
from .drawing import implied_topic_prior
from .fitting import fit_encoder
from .settings import EncoderSettings
from .topic_encoder import TopicEncoder

__all__ = ["EncoderSettings", "TopicClassifier", "TopicEncoder", "fit_encoder", "implied_topic_prior"]
