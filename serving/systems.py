"""The systems that a server serves: bundles loaded once, each with its worker. Knows no HTTP."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..common import UserError, file_sha256, usable_path
from ..pipeline import HybridPipeline, bundle
from ..runtime import Precision, copy_from_mmap
from .settings import ServingLimits, Stage
from .worker import Worker

LIBRARIES = ("unskew", "torch", "transformers")


@dataclass(frozen=True)
class ServedSystem:
    """A loaded bundle.

    Attributes:
        name: Its name in requests.
        pipeline: The loaded pipeline; replacing the bundle on disk does not change it.
        worker: The worker that answers for it.
        manifest: The bundle's `unskew.json`; None for a bundle on the hub.
        fingerprint: SHA-256 of the manifest when it was loaded; the manifest has those of all weights.
    """

    name: str
    pipeline: HybridPipeline
    worker: Worker
    manifest: Path | None = None
    fingerprint: str | None = None

    def describe(self) -> dict[str, Any]:
        """Information for clients, as plain values."""
        pipeline = self.pipeline
        topics, corrector = pipeline.topics, pipeline.corrector
        report = corrector.calibration.report
        decision = {**asdict(corrector.decision.decision), "any_prior": not corrector.asked.needs_rows}
        columns = ("name", "training_rows", "training_share", "target_share")
        rows = zip(topics.names, topics.counts, topics.prior, corrector.target, strict=True)
        return {
            "name": self.name,
            "topics": [dict(zip(columns, row, strict=True)) for row in rows],
            "adapts": pipeline.adapts,
            "writes": pipeline.decoder is not None,
            "guides": pipeline.decoder is not None and pipeline.decoder.unguided,
            "calibration": report.kind if report is not None and report.kept else "none",
            "conformal_sets": corrector.held_out is not None,
            "decision": decision,
            "device": str(pipeline.encoder.model.device),
            "fitted_with": pipeline.description.get("versions", {}),
            "fingerprint": self.fingerprint,
            "replaced_on_disk": self._replaced(),
        }

    def _replaced(self) -> bool:
        """Whether the bundle's folder now has another bundle or none."""
        if self.manifest is None:
            return False
        try:
            return file_sha256(self.manifest) != self.fingerprint
        except UserError:
            return True


def library_versions() -> dict[str, str]:
    """Versions of the libraries that compute predictions."""
    return {name: version(name) for name in LIBRARIES}


def load_systems(
    models: Sequence[str],
    limits: ServingLimits,
    stage: Stage = "both",
    device: str | None = None,
    precision: Precision | None = None,
) -> list[ServedSystem]:
    """Load bundles without starting their workers.

    Args:
        models: Folders, or ids on the hub.
        limits: Limits on requests.
        stage: "encoder" loads stage 1 alone.
        device: Where the models go; None takes a GPU if there is one.
        precision: Precision of the arithmetic, see `HybridPipeline.from_pretrained`.

    Raises:
        UserError: If no model is named, a model is named twice, or one cannot be loaded.
    """
    if not models or len(set(models)) < len(models):
        raise UserError("model names the same bundle twice; give each once" if models else "give a model to serve")
    systems = []
    for name, model in zip(names_of(models), models, strict=True):
        manifest = usable_path(model) / bundle.MANIFEST
        seen = file_sha256(manifest) if manifest.is_file() else None
        pipeline = HybridPipeline.from_pretrained(model, device, precision=precision, with_decoder=stage == "both")

        # Copies the weights, because memory-mapped weights would change with their files.
        for stage_model in (pipeline.encoder, pipeline.decoder):
            if stage_model is not None:
                copy_from_mmap(stage_model.model)
        worker = Worker(pipeline, limits.waiting)
        systems.append(ServedSystem(name, pipeline, worker, manifest if seen else None, seen))
    return systems


def names_of(models: Sequence[str]) -> list[str]:
    """Short names: the last folder of each path, with more of the path if needed to tell them apart."""
    parts = [Path(model).parts for model in models]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return list(models)
