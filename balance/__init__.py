"""unskew.balance: the mathematics against skew, tensors in and tensors out; no files, no models. Needs torch alone."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
