"""unskew.serving: a bundle behind HTTP: dynamic batches, streamed outputs, and a page that shows what a prior does."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
