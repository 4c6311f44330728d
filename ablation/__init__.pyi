from .report.write import write_report
from .run import ablate
from .settings import AblationSettings, ArmSettings

__all__ = ["AblationSettings", "ArmSettings", "ablate", "write_report"]
