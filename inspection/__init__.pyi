from .inspect_data import RESULT, inspect
from .results import Inspection
from .tables import print_inspection

__all__ = ["Inspection", "RESULT", "inspect", "print_inspection"]
