"""unskew.exporting: takes a bundle to other runtimes: plain transformers folders, ONNX, OpenVINO, GGUF."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
