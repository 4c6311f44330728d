from .dry_run import describe
from .job import JobSummary, predict, run
from .model import ModelHandle, open_model
from .settings import Executor, JobSettings
from .status import describe_status, job_status

__all__ = [
    "Executor",
    "JobSettings",
    "JobSummary",
    "ModelHandle",
    "open_model",
    "describe",
    "describe_status",
    "job_status",
    "predict",
    "run",
]
