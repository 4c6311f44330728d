from .common import UserError
from .encoder import TopicClassifier
from .evaluation import audit, evaluate
from .jobs import predict
from .pipeline import HybridPipeline, fit
from .version import __version__

__all__ = ["HybridPipeline", "TopicClassifier", "UserError", "__version__", "audit", "evaluate", "fit", "predict"]
