"""unskew.common: errors, atomic writes, fingerprints, progress. Knows no torch and no file formats."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
