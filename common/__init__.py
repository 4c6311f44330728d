"""unskew.common: what every room may use: errors, whole files, fingerprints, progress; no torch, no file formats."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
