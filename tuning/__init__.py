"""unskew.tuning: a search over a few settings of a fit, judged on held-out rows; never worse there than the default."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
