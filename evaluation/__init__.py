"""unskew.evaluation: how well a system, or anyone's predictions, name topics and write."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
