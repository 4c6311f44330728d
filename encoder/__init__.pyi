from .classifier import TopicClassifier
from .fitted import FittedEncoder, HeldOut
from .fitting import fit_encoder
from .recipe import fit_topic_encoder
from .relabel import relabelled
from .sampling import implied_topic_prior, topic_loss_link
from .settings import EncoderSettings
from .topic_encoder import TopicEncoder

__all__ = [
    "FittedEncoder",
    "HeldOut",
    "fit_topic_encoder",
    "EncoderSettings",
    "TopicClassifier",
    "TopicEncoder",
    "fit_encoder",
    "implied_topic_prior",
    "relabelled",
    "topic_loss_link",
]
