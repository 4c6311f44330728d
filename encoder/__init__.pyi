from .base import make_base
from .classifier import TopicClassifier
from .cross_fit import CrossFitted, cross_fit
from .fitted import FittedEncoder, HeldOut
from .fitting import fit_encoder
from .probed_base import MAX_NOISY_ROWS
from .reading import read_classifier
from .recipe import FEW_TOKENS, fit_topic_encoder
from .relabel import relabel_rows
from .sampling import topic_loss_link, topic_prior_from_loss
from .settings import EncoderSettings
from .tokens import pad, pad_id_of, tokenize
from .topic_encoder import TopicEncoder

__all__ = [
    "FEW_TOKENS",
    "MAX_NOISY_ROWS",
    "CrossFitted",
    "cross_fit",
    "tokenize",
    "pad",
    "pad_id_of",
    "read_classifier",
    "make_base",
    "FittedEncoder",
    "HeldOut",
    "fit_topic_encoder",
    "EncoderSettings",
    "TopicClassifier",
    "TopicEncoder",
    "fit_encoder",
    "topic_prior_from_loss",
    "relabel_rows",
    "topic_loss_link",
]
