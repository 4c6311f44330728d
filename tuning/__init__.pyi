from .results import StudyResult, TrialResult
from .space import search_space
from .study import tune
from .table import print_study

__all__ = ["StudyResult", "TrialResult", "print_study", "search_space", "tune"]
