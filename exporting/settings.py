"""Settings of an export, checked. Knows names of formats; runs nothing."""

from dataclasses import dataclass
from typing import Literal

from ..balance import TargetPrior
from ..common import UserError

DESCRIPTION = "unskew_export.json"  # a file in every exported folder, by which it is recognised

ExportFormat = Literal["merged", "onnx", "openvino", "gguf"]
ExportStage = Literal["encoder", "decoder"]

# The stages that each format supports. ONNX and OpenVINO have no maintained generation loop for transformers 5, and
# llama.cpp has no classifier that agrees with the encoder.
TAKES: dict[ExportFormat, tuple[ExportStage, ...]] = {
    "merged": ("encoder", "decoder"),
    "onnx": ("encoder",),
    "openvino": ("encoder",),
    "gguf": ("decoder",),
}
# The packages that write and check a format: import name and the extra that installs it.
PACKAGES: dict[ExportFormat, tuple[str, ...]] = {
    "merged": (),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino",),
    "gguf": ("gguf",),
}


@dataclass(frozen=True)
class ExportSettings:
    """Stages, format and target prior of an export.

    Attributes:
        format: Format: merged (plain transformers folders), onnx or openvino (the encoder), gguf (the decoder).
        stage: Single stage to export, encoder or decoder; by default every stage that the format supports.
        target_prior: Prior of the exported probabilities: uniform, train, or shares by topic; by default the bundle's
            own.
    """

    format: ExportFormat
    stage: ExportStage | None = None
    target_prior: TargetPrior | None = None

    def __post_init__(self) -> None:
        if self.stage not in (None, *TAKES[self.format]):
            takes = TAKES[self.format][0]
            others = " or ".join(name for name, stages in TAKES.items() if self.stage in stages)
            raise UserError(
                f"format {self.format} supports only the {takes}; export the {self.stage} as {others}, or leave stage "
                "out"
            )

    @property
    def stages(self) -> tuple[ExportStage, ...]:
        """The stages to export."""
        return TAKES[self.format] if self.stage is None else (self.stage,)
