from .dry_run import describe
from .job import JobSummary, predict, run
from .model import System, bundle_system
from .settings import Engine, JobSettings
from .status import describe_status, job_status

__all__ = [
    "Engine",
    "JobSettings",
    "JobSummary",
    "System",
    "bundle_system",
    "describe",
    "describe_status",
    "job_status",
    "predict",
    "run",
]
