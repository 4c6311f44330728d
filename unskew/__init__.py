"""unskew: topic-conditioned generation that does not copy the label frequencies of a small training set.

This module has what most programs need. Everything else is in the rooms: `unskew.balance`, `unskew.encoder`, ...
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
