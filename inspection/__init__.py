"""unskew.inspection: what a training set is like before a fit, and what to expect of a fit."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
