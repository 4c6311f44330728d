"""unskew.encoder: stage 1, the topic classifier: its settings, its training, its fast prediction; no decoder."""

from .classifier import TopicClassifier
from .fitting import fit_encoder
from .implied import implied_topic_prior
from .settings import EncoderSettings
from .topic_encoder import TopicEncoder

__all__ = ["EncoderSettings", "TopicClassifier", "TopicEncoder", "fit_encoder", "implied_topic_prior"]
