"""unskew.pipeline.jobs: batch jobs that survive interruptions: shards, manifests, resuming, one machine or many."""

from .running import JobSummary, predict, run
from .settings import JobSettings
from .system import System, bundle_system

__all__ = ["JobSettings", "JobSummary", "System", "bundle_system", "predict", "run"]
