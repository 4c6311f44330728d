"""`unskew predict`: its options, and what it prints. Parses nothing and loads no model before it must."""

from ..balance import ConformalKind
from ..common import SOME_ROWS_BAD, ProgressKind, ending_on_sigterm, printable
from ..corpus import Columns
from ..decoder import GenerationSettings, Writer
from ..jobs import Engine, JobSettings
from ..runtime import Precision

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
    input: list[str] | str,
    output: str,
    columns: Columns = Columns(),  # noqa: B008 frozen
    top_k: int = 5,
    generation: GenerationSettings = GenerationSettings(),  # noqa: B008 frozen
    fairness: bool = False,
    min_confidence: float = 0.0,
    write_undecided: bool = False,
    sets: float | None = None,
    sets_kind: ConformalKind = "per_topic",
    target_prior: dict[str, float] | str | None = None,
    estimate_rows: int = 20_000,
    device: str | None = None,
    precision: Precision | None = None,
    writer: Writer = "torch",
    limit: int | None = None,
    shard_rows: int | None = None,
    max_errors: int | float | None = None,
    engine: Engine = "local",
    workers: int = 2,
    gpus_per_worker: float = 0.0,
    progress: ProgressKind = "auto",
    dry_run: bool = False,
    restart: bool = False,
    overwrite: bool = False,
) -> int:
    """Predict a file; interrupted in any way, the same command goes on from the last whole shard.

    Args:
        model: A bundle: a folder, or its id on the hub.
        input: A file, glob or dataset id (or a list of them) with the texts.
        output: NAME.jsonl or NAME.parquet; or a folder/ for shards. Rows that cannot be processed go to
            OUTPUT.errors.jsonl; unfinished work stands in OUTPUT.job.
        columns: Which column holds what.
        top_k: How many topics to name with their probabilities.
        generation: How outputs are written.
        fairness: Put the prior-suppression token before the topic.
        min_confidence: Rows whose most probable topic has less are undecided: their topic is null.
        write_undecided: Write an output for undecided rows too, under their most probable topic.
        sets: An error rate, as 0.1: each row gets a set of topics that holds the true one but for that share of rows.
        sets_kind: Of whom that is promised: per_topic, clustered or pooled.
        target_prior: The prior to be right for: uniform, train, adaptive (from the job's own rows, within what the
            training set makes likely), estimate (from the job's own rows alone), a JSON file of shares by topic, or the
            shares. As the bundle was fitted unless given.
        estimate_rows: How many rows adaptive and estimate read at most.
        device: cpu, cuda, cuda:1, ...; a GPU where there is one unless given.
        precision: float32, bfloat16, or, for the decoder on a CPU, int8; chosen by the device unless given.
        writer: What runs the decoder: torch, or vllm on the first GPU (pip install "unskew[vllm]").
        limit: Read only so many rows.
        shard_rows: Rows in a shard, which is what an interruption costs at most; 1,000 on a CPU and 10,000 on a GPU
            unless given.
        max_errors: Stop when more rows than this could not be processed; below 1, a share of the rows.
        engine: local, or ray for a pool of worker processes (pip install "unskew[ray]").
        workers: How many workers the Ray engine has.
        gpus_per_worker: GPUs each of them holds.
        progress: auto (a bar on a terminal, else lines), json (an object a line on stderr), or none.
        dry_run: Check everything, say what would be done, and do nothing.
        restart: Throw away what an earlier run has finished, and begin anew.
        overwrite: Replace what stands at output.
    """
    from ..jobs import bundle_system, describe, run

    job = JobSettings(
        source=input,
        output=output,
        columns=columns,
        top_k=top_k,
        generation=generation,
        fairness=fairness,
        min_confidence=min_confidence,
        write_undecided=write_undecided,
        sets=sets,
        sets_kind=sets_kind,
        target_prior=target_prior,
        estimate_rows=estimate_rows,
        limit=limit,
        shard_rows=shard_rows,
        max_errors=max_errors,
        overwrite=overwrite,
        restart=restart,
        progress=progress,
        engine=engine,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
    )
    system = bundle_system(model, device, precision, job, writer)
    if dry_run:
        print(describe(system, job))
        return 0
    with ending_on_sigterm():
        summary = run(system, job)
    print(printable(f"{output}: {summary}"))
    return SOME_ROWS_BAD if summary.bad else 0
