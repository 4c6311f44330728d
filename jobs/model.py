"""The models of a job: their fingerprint, and how any process loads them. Knows no rows and no files of a job."""

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

if TYPE_CHECKING:  # importing it loads the models' libraries
    import torch

    from ..decoder import Backend
    from ..runtime import Precision

Prior = Literal["uniform", "train"] | dict[str, float] | None
Load = Callable[[Prior], Predictor]


@dataclass(frozen=True)
class ModelHandle:
    """A handle on a predictor that any process can load.

    Attributes:
        load: Function that loads it for a prior (None: its own); can be pickled.
        state: Everything about it that results depend on (fingerprint, device, precision, backend, versions, processor,
            threads), as plain values.
        topics: Topics that it decides between.
        on_gpu: Whether it runs on a GPU.
        weight_bytes: Bytes of its weight files.
        adapts: Whether its target prior is adapted to each job's rows, unless the job says otherwise.
    """

    load: Load
    state: dict[str, Any]
    topics: Topics
    on_gpu: bool = False
    weight_bytes: int = 0
    adapts: bool = False

    @property
    def window(self) -> int:
        """Rows within which batches are formed: just enough to fill them, because progress is reported per window."""
        return 1024 if self.on_gpu else 256

    @property
    def shard_rows(self) -> int:
        """Rows of a shard, the most that a kill costs: minutes of work, but enough windows for stages to overlap."""
        return 10_000 if self.on_gpu else 1_000


def open_model(
    model: str,
    device: str | None = None,
    precision: "Precision | None" = None,
    job: JobSettings | None = None,
    backend: "Backend" = "torch",
) -> ModelHandle:
    """A handle on the system of a bundle.

    Args:
        model: Folder of the bundle, its URL in object storage, or its id on the hub.
        device: Device of the models; None takes a GPU if there is one.
        precision: Precision of the weights, see `unskew.runtime.Precision`; None chooses by the device.
        job: Job whose output and options are checked first and whose decision is used. If it runs on workers, the
            device is theirs and not looked for here.
        backend: Library that runs the decoder, see `HybridPipeline.from_pretrained`.

    Raises:
        UserError: If the output cannot be written, there is no such bundle or device, its decoder cannot give the
            requested guidance, fairness or length of outputs, or the precision or the backend is not available on the
            device.
    """
    import torch

    from ..decoder import check_backend
    from ..pipeline import choose_device
    from ..runtime import choose_precision

    if job is not None:
        check_output(job)
    contents = bundle.read(model)
    if job is not None:
        _check_decoder(contents, job)
    folders = bundle_folders(contents)
    seen = folder_state(folders)
    if is_url(model):
        folders = []  # what is loaded may be a newer copy: only contents tell
    if job is not None and job.executor == "ray":
        device = device or ("cuda" if job.gpus_per_worker else "cpu")
        place = torch.device(device)
        if backend == "vllm" and 0 < job.gpus_per_worker < 1:
            raise UserError("backend vllm needs a GPU of its own; give gpus_per_worker 1, or backend torch")
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
        "threads": _threads(place, job),
    }
    weights = sum(path.stat().st_size for path in contents.encoder.parent.rglob("*.safetensors"))
    where = str(Path(model).resolve()) if Path(model).exists() else model  # workers have other working directories
    load = partial(_load, where, device, precision, backend, job and job.decision, state["bundle"], folders, seen)
    topics, adapts = Topics.from_dict(contents.corrector["topics"]), bundle.adapts(contents.description)
    return ModelHandle(load, state, topics, place.type != "cpu", weights, adapts)


def _check_decoder(contents: bundle.Contents, job: JobSettings) -> None:
    """Raise a UserError if the decoder cannot write as the job asks."""
    from ..decoder import check_abilities, check_length, load_base_config

    if contents.decoder is None or contents.stored_decoder is None:
        return
    check_abilities(contents.stored_decoder, job.generation.guidance, job.fairness)
    if job.generation.max_new_tokens is None:
        return
    try:
        config = load_base_config(contents.decoder)
    except UserError:  # a base that this machine cannot read: its workers may
        return
    topic_tokens = 1  # at least: only the tokenizer knows the lengths of topics given as text
    check_length(contents.stored_decoder, config, topic_tokens, job.generation, job.fairness)


def _processor(device: "torch.device") -> str | None:
    """The hardware that decides rounding: the instruction set or the GPU's name; None for GPUs of other machines."""
    import torch

    from ..runtime import int8_input_max

    if device.type == "cuda":
        return torch.cuda.get_device_name(device) if torch.cuda.is_available() else None
    vnni = " VNNI" if int8_input_max() == 127 else ""  # int8 rounds differently without it
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}{vnni}"


def _threads(device: "torch.device", job: JobSettings | None) -> int | None:
    """The number of threads that share a sum, and so decide its rounding; None for GPUs and for workers."""
    import torch

    ours = device.type == "cpu" and (job is None or job.executor == "local")
    return torch.get_num_threads() if ours else None


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
    """Load a bundle, and check that it has the fingerprint `expected` and its files are as `seen`."""
    from ..pipeline import HybridPipeline

    before = folder_state(folders)
    pipeline = HybridPipeline.from_pretrained(model, device, precision=precision, backend=backend)
    after = folder_state(folders)
    # Either no file changed since the fingerprint was taken or, on another machine, none changed during loading and the
    # contents are the same.
    if after != seen and ((before and after != before) or bundle_state(bundle.read(model)) != expected):
        raise UserError(f"the bundle {model} was replaced while the job started; run the same command again")
    pipeline = pipeline if prior is None else pipeline.with_target_prior(prior)
    return pipeline if decision is None else pipeline.with_decision(decision)
