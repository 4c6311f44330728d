from .compare import compare
from .compared import Comparison
from .report.write import write_report
from .run import ablate
from .settings import SIGNIFICANT, AblationSettings, ArmSettings

__all__ = ["SIGNIFICANT", "Comparison", "compare", "AblationSettings", "ArmSettings", "ablate", "write_report"]
