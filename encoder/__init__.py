"""unskew.encoder: stage 1, the topic classifier: settings, training and fast prediction. Knows no decoder."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
