from .classifier import TopicClassifier
from .fitting import fit_encoder
from .relabel import relabelled
from .sampling import implied_topic_prior
from .settings import EncoderSettings
from .topic_encoder import TopicEncoder

__all__ = ["EncoderSettings", "TopicClassifier", "TopicEncoder", "fit_encoder", "implied_topic_prior", "relabelled"]
