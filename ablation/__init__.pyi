from .compare import compare
from .compared import Comparison
from .compared_page import verdict
from .report.write import write_report
from .run import ablate
from .settings import SIGNIFICANT, AblationSettings, ArmSettings

__all__ = [
    "SIGNIFICANT",
    "AblationSettings",
    "ArmSettings",
    "Comparison",
    "ablate",
    "compare",
    "verdict",
    "write_report",
]
