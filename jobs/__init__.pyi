from .dry_run import describe
from .job import JobSummary, predict, run
from .model import System, bundle_system
from .settings import Engine, JobSettings

__all__ = ["Engine", "JobSettings", "JobSummary", "System", "bundle_system", "describe", "predict", "run"]
