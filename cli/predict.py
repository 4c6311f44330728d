"""`unskew predict`: its options, and what it prints. Parses nothing and loads no model before it must."""

from ..balance import ConformalKind, DecisionSettings
from ..common import DRIFTED, SOME_ROWS_BAD, ProgressKind, ending_on_sigterm, printable
from ..corpus import Columns
from ..decoder import GenerationSettings, Writer
from ..jobs import Engine, JobSettings
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
    input: list[str] | str,
    output: str,
    columns: Columns = Columns(),  # noqa: B008 frozen
    top_k: int = 5,
    generation: GenerationSettings = GenerationSettings(),  # noqa: B008 frozen
    fairness: bool = False,
    decision: DecisionSettings | None = None,
    min_confidence: float = 0.0,
    write_undecided: bool = False,
    sets: float | None = None,
    sets_kind: ConformalKind = "per_topic",
    target_prior: dict[str, float] | str | None = None,
    estimate_rows: int = 20_000,
    device: str | None = None,
    precision: Precision | None = None,
    writer: Writer = "torch",
    keep: list[str] | str | None = None,
    limit: int | None = None,
    shard_rows: int | None = None,
    max_errors: int | float | None = None,
    max_shift: float | None = None,
    max_undecided: float | None = None,
    engine: Engine = "local",
    workers: int = 2,
    gpus_per_worker: float = 0.0,
    progress: ProgressKind = "auto",
    logs: LogKind = "text",
    metrics: str | None = None,
    dry_run: bool = False,
    retry_errors: bool = False,
    restart: bool = False,
    overwrite: bool = False,
) -> int:
    """Predict a file; interrupted in any way, the same command goes on from the last whole shard.

    Args:
        model: A bundle: a folder, or its id on the hub.
        input: A file, glob, Hive-partitioned folder or dataset id (or a list of them) with the texts.
        output: NAME.jsonl, .jsonl.gz, .jsonl.zst, .csv or .parquet; or a folder/ for shards. Rows that cannot be
            processed go to OUTPUT.errors.jsonl; unfinished work and the job's report are in OUTPUT.job.
        columns: Which column holds what; a.b is what the column a holds under b.
        top_k: How many topics to name with their probabilities.
        generation: How outputs are written.
        fairness: Put the prior-suppression token before the topic.
        decision: Which topic a row gets, and when none. As the bundle was fitted unless given.
        min_confidence: Rows whose topic has a smaller probability are undecided, whatever the decision says.
        write_undecided: Write an output for undecided rows too, under the topic they would have.
        sets: An error rate, as 0.1: each row gets a set of topics that holds the true one but for that share of rows.
        sets_kind: Of whom that is promised: per_topic, clustered or pooled.
        target_prior: The prior to be right for: uniform, train, adaptive (from the job's own rows, within what the
            training set makes likely), estimate (from the job's own rows alone), a JSON file of shares by topic, or the
            shares. As the bundle was fitted unless given.
        estimate_rows: How many rows adaptive and estimate read at most, spread evenly over the input.
        device: cpu, cuda, cuda:1, ...; a GPU where there is one unless given.
        precision: float32, bfloat16, or, for the decoder on a CPU, int8; chosen by the device unless given.
        writer: What runs the decoder: torch, or vllm on the first GPU (pip install "unskew[vllm]").
        keep: Input columns to pass through to the output, as a,b.
        limit: Read only so many rows.
        shard_rows: Rows in a shard, which is what an interruption costs at most; 1,000 on a CPU and 10,000 on a GPU
            unless given.
        max_errors: Stop when more rows than this could not be processed; below 1, a share of the rows.
        max_shift: Warn, and end with exit code 4, where the topics' shares are further than this from the training
            set's (half the sum of the differences, 0 to 1).
        max_undecided: The same where more than this share of the rows is undecided.
        engine: local, or ray for a pool of worker processes (pip install "unskew[ray]").
        workers: How many workers the Ray engine has.
        gpus_per_worker: GPUs each of them holds.
        progress: auto (a bar on a terminal, else lines), json (an object a line on stderr), or none.
        logs: text, or json (an object a line on stderr).
        metrics: A text file for Prometheus, NAME.prom, written again every few seconds (pip install "unskew[metrics]").
        dry_run: Check everything, say what would be done, and do nothing.
        retry_errors: Run the rows of OUTPUT.errors.jsonl again, and merge those that now have a result.
        restart: Throw away what an earlier run has finished, and begin anew.
        overwrite: Replace what stands at output.
    """
    from ..jobs import bundle_system, describe, run

    if logs == "json":
        log_as_json()
    job = JobSettings(
        source=input,
        output=output,
        columns=columns,
        top_k=top_k,
        generation=generation,
        fairness=fairness,
        decision=decision,
        min_confidence=min_confidence,
        write_undecided=write_undecided,
        sets=sets,
        sets_kind=sets_kind,
        target_prior=target_prior,
        estimate_rows=estimate_rows,
        keep=keep.split(",") if isinstance(keep, str) else keep or (),
        limit=limit,
        shard_rows=shard_rows,
        max_errors=max_errors,
        max_shift=max_shift,
        max_undecided=max_undecided,
        retry_errors=retry_errors,
        overwrite=overwrite,
        restart=restart,
        progress=progress,
        metrics=metrics,
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
    if summary.drift:
        return DRIFTED
    return SOME_ROWS_BAD if summary.bad else 0
