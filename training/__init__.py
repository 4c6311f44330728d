"""unskew.training: training shared by both stages, on Lightning: phases, runs, checkpoints. Knows neither stage."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
