"""unskew.jobs: batch jobs that survive interruptions: shards, manifests, one machine or many. Knows no evaluation."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
