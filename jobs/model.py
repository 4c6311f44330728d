"""The models of a job: what they are, for the fingerprint, and how any process of it loads them."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..balance import DecisionSettings
from ..common import UserError, is_url
from ..corpus import Topics
from ..pipeline import bundle
from .inputs import FileState, bundle_folders, bundle_state, folder_state, library_versions
from .predict_shard import Predictor
from .resume import check_output
from .settings import JobSettings

if TYPE_CHECKING:  # its room loads the models' libraries
    import torch

    from ..decoder import Backend
    from ..runtime import Precision

Prior = Literal["uniform", "train"] | dict[str, float] | None
Load = Callable[[Prior], Predictor]


@dataclass(frozen=True)
class ModelHandle:
    """A predictor that can be loaded in any process.

    Attributes:
        load: Loads it, right for a prior (None: its own); can be pickled.
        state: What results depend on: fingerprint, device, precision, writer, versions; plain values.
        topics: What it decides between.
        on_gpu: Whether it computes on a GPU.
        weight_bytes: Bytes of the files of its weights.
        adapts: Whether its target prior is to be adapted to each job's rows, unless a job says otherwise.
    """

    load: Load
    state: dict[str, Any]
    topics: Topics
    on_gpu: bool = False
    weight_bytes: int = 0
    adapts: bool = False

    @property
    def window(self) -> int:
        """Rows that batches are formed within: as few as fill them, for progress is told a window at a time."""
        return 1024 if self.on_gpu else 256

    @property
    def shard_rows(self) -> int:
        """Rows of a shard, all that a kill costs: some minutes, but enough windows for stages that overlap."""
        return 10_000 if self.on_gpu else 1_000


def open_model(
    model: str,
    device: str | None = None,
    precision: "Precision | None" = None,
    job: JobSettings | None = None,
    backend: "Backend" = "torch",
) -> ModelHandle:
    """The system of a bundle.

    Args:
        model: A folder, its URL in object storage, or the id of one on the hub.
        device: Where the models go; None takes a GPU where there is one.
        precision: Precision of the weights, see `unskew.training.Precision`; None chooses by the device.
        job: Its output is looked at first. Its decision is taken, and where its executor is not this process,
            the device is its workers' and not looked for here.
        backend: What runs the decoder, see `HybridPipeline.from_pretrained`.

    Raises:
        UserError: If nothing can be written at the output, there is no such bundle or device, or precision or writer
            are not to be had there.
    """
    import torch

    from ..decoder import check_backend
    from ..pipeline import choose_device
    from ..runtime import choose_precision

    if job is not None:
        check_output(job)
    contents = bundle.read(model)
    folders = bundle_folders(contents)
    seen = folder_state(folders)
    if is_url(model):
        folders = []  # what is loaded may be a newer copy: only contents tell
    if job is not None and job.executor == "ray":
        device = device or ("cuda" if job.gpus_per_worker else "cpu")
        place = torch.device(device)
        if backend == "vllm" and 0 < job.gpus_per_worker < 1:
            raise UserError("writer vllm takes a GPU for itself; give gpus_per_worker 1, or leave writer as torch")
    else:
        place = choose_device(device)
    chosen = choose_precision(precision, place)
    state = {
        "bundle": bundle_state(contents),
        "device": place.type,
        "precision": chosen,
        "backend": check_backend(backend, chosen, place),
        "versions": library_versions(),
        "processor": _processor(place),
    }
    weights = sum(path.stat().st_size for path in contents.encoder.parent.rglob("*.safetensors"))
    where = str(Path(model).resolve()) if Path(model).exists() else model  # workers have working folders of their own
    load = partial(_load, where, device, precision, backend, job and job.decision, state["bundle"], folders, seen)
    topics, adapts = Topics.from_dict(contents.corrector["topics"]), bundle.adapts(contents.description)
    return ModelHandle(load, state, topics, place.type != "cpu", weights, adapts)


def _processor(device: "torch.device") -> str | None:
    """What rounds: the instruction set, or the GPU's name; None for the GPUs of other machines."""
    import torch

    from ..runtime import largest_input

    if device.type == "cuda":
        return torch.cuda.get_device_name(device) if torch.cuda.is_available() else None
    vnni = " VNNI" if largest_input() == 127 else ""  # int8 rounds otherwise without it
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}{vnni}"


def _load(
    model: str,
    device: str | None,
    precision: "Precision | None",
    backend: "Backend",
    decision: DecisionSettings | None,
    expected: str,
    folders: Sequence[Path],
    seen: Sequence[FileState],
    prior: Prior,
) -> Predictor:
    """Load a bundle, and make sure that it is the one with the fingerprint `expected`, whose files were `seen`."""
    import transformers

    from ..pipeline import HybridPipeline

    transformers.utils.logging.disable_progress_bar()  # loading takes a moment; its bars would bury ours
    before = folder_state(folders)
    pipeline = HybridPipeline.from_pretrained(model, device, precision=precision, backend=backend)
    after = folder_state(folders)
    # Either nothing was touched since the fingerprint was taken, or (on another machine) nothing meanwhile, and the
    # contents are the same.
    if after != seen and ((before and after != before) or bundle_state(bundle.read(model)) != expected):
        raise UserError(f"the bundle {model} was replaced while the job started; run the same command again")
    pipeline = pipeline if prior is None else pipeline.with_target_prior(prior)
    return pipeline if decision is None else pipeline.with_decision(decision)
