from .compare import compare
from .compared import Comparison
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
    "write_report",
]
