"""unskew.serving: bundles over HTTP, with dynamic batches, streamed outputs and a page. Knows no jobs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
