"""unskew.pipeline: joins the two stages: fitting, bundles, prediction, synthetic rows. Knows no jobs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
