"""unskew.runtime: how a model runs: precision, memory, batches, tokenizers. Knows no stage and no training."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
