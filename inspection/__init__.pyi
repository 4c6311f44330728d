from .fit_plan import describe_fit
from .inspect_data import RESULT, inspect
from .results import Inspection
from .tables import print_inspection

__all__ = ["Inspection", "RESULT", "describe_fit", "inspect", "print_inspection"]
