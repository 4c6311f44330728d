"""unskew.decoder: stage 2, the topic-conditioned writer. Knows nothing of the encoder."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
