from .export_bundle import Exported, export
from .settings import DESCRIPTION, ExportFormat, ExportSettings, ExportStage

__all__ = ["DESCRIPTION", "ExportFormat", "ExportSettings", "ExportStage", "Exported", "export"]
