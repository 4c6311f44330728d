"""What a user chooses about an export. Knows names of formats; runs nothing."""

from dataclasses import dataclass
from typing import Literal

from ..balance import TargetPrior
from ..common import UserError

DESCRIPTION = "unskew_export.json"  # in every exported folder, and the mark of one

ExportFormat = Literal["merged", "onnx", "openvino", "gguf"]
ExportStage = Literal["encoder", "decoder"]

# What a runtime of each format runs well. ONNX and OpenVINO have no maintained loop of writing for transformers 5, and
# llama.cpp has no classifier that says what the encoder says.
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
    """What is exported, and as what.

    Attributes:
        format: merged (plain transformers folders), onnx or openvino (the encoder), gguf (the decoder).
        stage: encoder or decoder alone; unless given, every stage that the format takes.
        target_prior: The prior that exported probabilities are right for: uniform, train, or shares by topic; the
            bundle's own unless given.
    """

    format: ExportFormat
    stage: ExportStage | None = None
    target_prior: TargetPrior | None = None

    def __post_init__(self) -> None:
        if self.stage not in (None, *TAKES[self.format]):
            takes = TAKES[self.format][0]
            others = " or ".join(name for name, stages in TAKES.items() if self.stage in stages)
            raise UserError(
                f"format {self.format} takes the {takes} alone; export the {self.stage} as {others}, or leave stage out"
            )

    @property
    def stages(self) -> tuple[ExportStage, ...]:
        """The stages asked for."""
        return TAKES[self.format] if self.stage is None else (self.stage,)
