"""`unskew predict`: its options, and what it prints. Parses nothing and loads no model before it must."""

from ..common import EXIT_BAD_ROWS, EXIT_DRIFTED, ending_in_order, printable
from ..decoder import Backend
from ..jobs import JobSettings
from ..runtime import Precision
from .logs import LogKind, log_as_json

MOST_USED = (
    "model",
    "input",
    "output",
    "columns.text",
    "columns.id",
    "target_prior",
    "min_confidence",
    "device",
    "dry_run",
)


def command(
    model: str,
    settings: JobSettings,
    device: str | None = None,
    precision: Precision | None = None,
    backend: Backend = "torch",
    logs: LogKind = "text",
    dry_run: bool = False,
) -> int:
    """Predict a file; after any interruption, the same command resumes at the last whole shard.

    Args:
        model: A bundle: a folder, its URL (s3://, gs://, az://), or its id on the hub.
        settings: Settings of the job.
        device: Device: cpu, cuda, cuda:1, ...; by default a GPU if there is one.
        precision: Precision: float32, bfloat16, or on a CPU int8 (of the decoder, if any); by default by the device.
        backend: Library that runs the decoder: torch, or vllm on the first GPU (pip install "unskew[vllm]").
        logs: text, or json (one object per line on stderr).
        dry_run: Check everything, describe the job, and do nothing.
    """
    from ..jobs import describe, open_model, run

    if logs == "json":
        log_as_json()
    system = open_model(model, device, precision, settings, backend)
    if dry_run:
        print(describe(system, settings))
        return 0
    with ending_in_order():
        summary = run(system, settings)
    print(printable(f"{settings.output}: {summary}"))
    if summary.drift:
        return EXIT_DRIFTED
    return EXIT_BAD_ROWS if summary.bad else 0
