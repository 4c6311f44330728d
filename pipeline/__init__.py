"""unskew.pipeline: joins both stages: fitting, bundles, prediction, evaluation, command line."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .evaluating import Evaluation, evaluate
    from .fitting import fit
    from .hybrid import HybridPipeline, Result
    from .jobs import JobSettings, JobSummary, predict
    from .settings import DataSettings, FitSettings

__all__ = [
    "DataSettings",
    "Evaluation",
    "FitSettings",
    "HybridPipeline",
    "JobSettings",
    "JobSummary",
    "Result",
    "evaluate",
    "fit",
    "predict",
]

_HOMES = {
    "evaluating": {"Evaluation", "evaluate"},
    "fitting": {"fit"},
    "hybrid": {"HybridPipeline", "Result"},
    "jobs": {"JobSettings", "JobSummary", "predict"},
    "settings": {"DataSettings", "FitSettings"},
}


# The models' libraries take seconds to import, which `unskew --help` must not.
def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f".{home}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
