"""Settings of a job, checked. Knows no model and starts nothing."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from ..balance import ConformalKind, DecisionSettings
from ..common import ProgressKind, UserError, check_settings, problems_of_text, read_bounded
from ..corpus import Columns
from ..decoder import GenerationSettings
from ..pipeline import PredictOptions
from .encoding import NAMES, SET, Layout, RowFormat

Executor = Literal["local", "ray"]

_PATHS = {"input": None, "output": None, "metrics": None}  # checked elsewhere
_PRIORS = ("uniform", "train", "adaptive", "estimate")


@dataclass(frozen=True)
class JobSettings:
    """Settings of one batch job.

    Attributes:
        input: File, glob, Hive-partitioned folder or dataset id with the texts, or a list of them; also by URL (s3://,
            gs://, az://).
        output: File NAME.jsonl, .jsonl.gz, .jsonl.zst, .csv or .parquet, or a folder/ for shards (Parquet if called
            NAME.parquet/); also by URL. Rows with errors go to OUTPUT.errors.jsonl; unfinished work and the job's
            report to OUTPUT.job.
        columns: Names of the columns.
        top_k: Number of topics to list with their probabilities.
        generation: Settings of generation.
        fairness: Put the prior-suppression token before the topic.
        decision: Decision rule that gives a row its topic, or none; by default that of the bundle.
        min_confidence: Smallest probability at which a row gets a topic, whatever the decision says.
        write_undecided: Write an output for undecided rows too, under the topic they would have.
        sets: Error rate of conformal sets, such as 0.1: at most this share of rows has a set without the true topic.
        sets_kind: Kind of promise of the sets: per_topic, clustered or pooled.
        target_prior: Prior to predict for: uniform, train, adaptive (from the job's rows, within what the training set
            makes likely), estimate (from the job's rows alone), a JSON file of shares by topic, or the shares; by
            default that of the bundle.
        estimate_rows: Most rows that adaptive and estimate read, spread evenly over the input.
        keep: Input columns to pass through to the output, as a,b.
        limit: Most rows to read.
        shard_rows: Rows in a shard, the most that an interruption costs; by default 1,000 on a CPU and 10,000 on a GPU.
        max_errors: Number of rows with errors above which the job stops; below 1, a share of the rows (once 100 have
            been read).
        max_shift: Distance of the topics' shares from the training set's (half the sum of the differences, 0 to 1)
            above which the job warns and ends with exit code 4.
        max_undecided: Share of undecided rows above which the job warns and ends with exit code 4.
        executor: Where to run: local, or ray for a pool of worker processes (pip install "unskew[ray]").
        workers: Number of workers of the Ray executor.
        gpus_per_worker: GPUs for each worker; below 1, workers share a GPU.
        progress: View of the progress: auto (a bar on a terminal, else lines), json (an object per line on stderr), or
            none.
        metrics: Text file for Prometheus, NAME.prom, rewritten every few seconds (pip install "unskew[metrics]").
        retry_errors: Run the rows of OUTPUT.errors.jsonl again, and merge those that now have a result.
        restart: Discard the work of an earlier run, and start again.
        overwrite: Replace an existing output.
    """

    input: list[str] | str
    output: str
    columns: Columns = field(default_factory=Columns)
    top_k: int = 5
    generation: GenerationSettings = field(default_factory=GenerationSettings)
    fairness: bool = False
    decision: DecisionSettings | None = None
    min_confidence: float = 0.0
    write_undecided: bool = False
    sets: float | None = None
    sets_kind: ConformalKind = "per_topic"
    target_prior: dict[str, float] | str | None = None
    estimate_rows: int = 20_000
    keep: list[str] | str | None = None
    limit: int | None = None
    shard_rows: int | None = None
    max_errors: int | float | None = None
    max_shift: float | None = None
    max_undecided: float | None = None
    executor: Executor = "local"
    workers: int = 2
    gpus_per_worker: float = 0.0
    progress: ProgressKind = "auto"
    metrics: str | None = None
    retry_errors: bool = False
    restart: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_settings("columns", self.columns, Columns)
        check_settings("generation", self.generation, GenerationSettings)
        if self.decision is not None:
            check_settings("decision", self.decision, DecisionSettings)
        counts = ("top_k", "estimate_rows", "limit", "shard_rows", "workers")
        given = {name: getattr(self, name) for name in counts}
        small = {name: value for name, value in given.items() if value is not None and value < 1}
        problems = [f"{name} is {value}; give at least 1" for name, value in small.items()]
        if not 0 <= self.min_confidence <= 1:
            problems.append(f"min_confidence is {self.min_confidence}; give a number from 0 to 1")
        if self.sets is not None and not 0 < self.sets < 1:
            problems.append(f"sets is {self.sets}; give an error rate between 0 and 1, such as 0.1")
        most = self.max_errors
        if most is not None and (most < 0 or (most >= 1 and most % 1)):
            problems.append(f"max_errors is {most}; give a whole number of rows, or a share below 1")
        for name in ("max_shift", "max_undecided"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                problems.append(f"{name} is {value}; give a number from 0 to 1")
        problems += [*_problems_of_kept(self.kept), *problems_of_text({**asdict(self), **_PATHS})]
        if self.gpus_per_worker < 0:
            problems.append(f"gpus_per_worker is {self.gpus_per_worker}; give at least 0")
        for name, known in (("executor", ("local", "ray")), ("progress", ("auto", "json", "none"))):
            if getattr(self, name) not in known:
                problems.append(f"{name} is {getattr(self, name)!r}; give one of {', '.join(known)}")
        problems += self._without_effect()
        if problems:
            raise UserError("; ".join(problems))
        if isinstance(self.target_prior, str) and self.target_prior not in _PRIORS:
            object.__setattr__(self, "target_prior", _read_prior(Path(self.target_prior)))

    def _without_effect(self) -> Iterator[str]:
        if self.executor == "local":
            for name in ("workers", "gpus_per_worker"):
                if getattr(self, name) != getattr(JobSettings, name):
                    yield f"{name} is for the Ray executor; give executor ray too, or leave it out"
        if self.sets is None and self.sets_kind != JobSettings.sets_kind:
            yield f"sets_kind is {self.sets_kind}, but no sets are made; give their error rate as sets, such as 0.1"

    @property
    def kept(self) -> tuple[str, ...]:
        """The columns that `keep` names."""
        return tuple(self.keep.split(",") if isinstance(self.keep, str) else self.keep or ())

    def layout(self, form: RowFormat) -> Layout:
        """The layout of the result rows."""
        return Layout(form, self.sets is not None, self.kept)

    def predict_options(self, window: int) -> PredictOptions:
        """The options of the pipeline's call, with batches formed within `window` rows."""
        own = {option.name: getattr(self, option.name) for option in fields(PredictOptions) if option.name != "window"}
        return PredictOptions(window=window, **own)

    def _options_in_results(self, window: int) -> dict[str, Any]:
        # A job without sets, guidance or its own decision has the same plan as before these existed, so it can resume.
        options = asdict(self.predict_options(window))
        if self.generation.guidance == 1:
            del options["generation"]["guidance"]
        return (
            options if self.sets is not None else {k: v for k, v in options.items() if k not in ("sets", "sets_kind")}
        )

    def in_results(self, window: int, adapts: bool = False) -> dict[str, Any]:
        """The settings that change bytes of the results, as plain values; others may differ in a resumed run.

        `adapts` says whether the bundle's own target prior is "adaptive".
        """
        asked = self.target_prior in ("adaptive", "estimate")
        # None by default where the bundle adapts, too: jobs of earlier versions have it so, and resume.
        chosen = adapts and self.target_prior is None and self.estimate_rows != JobSettings.estimate_rows
        return {
            **self._options_in_results(window),
            **({} if self.decision is None else {"decision": asdict(self.decision)}),
            "columns": asdict(self.columns),
            "target_prior": self.target_prior,
            "estimate_rows": self.estimate_rows if asked or chosen else None,
            "limit": self.limit,
            **({"keep": list(self.kept)} if self.kept else {}),
        }


def _problems_of_kept(keep: Sequence[str]) -> Iterator[str]:
    for name in keep:
        if name in (*NAMES, SET):
            yield f"keep names {name!r}, but results have their own column of that name; leave it out"
        elif not name or keep.count(name) > 1:
            yield f"keep names {name!r} {'more than once' if name else 'among others'}; give each column once, as a,b"


def _read_prior(path: Path) -> dict[str, float]:
    try:
        shares = json.loads(read_bounded(path))
        return {str(topic): float(share) for topic, share in shares.items()}
    except OSError as error:
        remedy = f"give {', '.join(_PRIORS)}, shares by topic, or a JSON file of them"
        raise UserError(f"target_prior is {str(path)!r}, and there is no such file; {remedy}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f'{path} has no shares by topic; write {{"TOPIC": 0.25, ...}}') from error
