"""What a user chooses about a job, checked. Knows no model and starts nothing."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..balance import ConformalKind, DecisionSettings
from ..common import ProgressKind, UserError, read_bounded
from ..corpus import Columns, Source
from ..pipeline import PredictOptions
from .encoding import NAMES, SET, Layout, RowFormat

if TYPE_CHECKING:  # its room loads the models' libraries, which a mistake in an option need not wait for
    from ..decoder import GenerationSettings

Engine = Literal["local", "ray"]

_PRIORS = ("uniform", "train", "adaptive", "estimate")


@dataclass(frozen=True)
class JobSettings:
    """One batch job.

    Attributes:
        source: A file, glob or dataset id, or a list of them.
        output: `NAME.jsonl`, `.jsonl.gz`, `.jsonl.zst`, `.csv` or `.parquet` for one file; a name without suffix, or
            one that ends with a slash, for a folder of shards (Parquet where it is called `NAME.parquet/`).
        columns: Which column holds what; topics and targets are not read.
        top_k: How many topics a row names.
        generation: How outputs are written; None: greedily.
        fairness: Whether `<force_fairness>` precedes the topic.
        decision: Which topic a row gets, and when none; None is as the bundle was fitted.
        min_confidence: Rows whose topic has a smaller probability are undecided, whatever `decision` says: their topic
            is null.
        write_undecided: Whether undecided rows get an output all the same.
        sets: An error rate: rows then have a conformal set of topics; None goes without.
        sets_kind: What is promised of the sets, see `unskew.balance.ConformalSets`.
        target_prior: "uniform", "train", "adaptive" (from the job's own rows, within what the training set makes
            likely), "estimate" (from the job's own rows alone), a JSON file of shares by topic, or the
            shares; None is the bundle's own.
        estimate_rows: "adaptive" and "estimate" read so many rows at most, spread evenly over the input.
        keep: Input columns that are passed through to the results.
        limit: Read so many rows at most.
        shard_rows: Input rows in a shard, the unit that is finished or done again; None chooses by the device.
        max_errors: Stop when more rows than this could not be processed; below 1, a share of the rows read (once 100
            have been). None never stops.
        max_shift: Warn where the shares of the topics are further than this from the training set's (total variation,
            0 to 1); None never does.
        max_undecided: Warn where a larger share of the rows is undecided; None never does.
        retry_errors: Whether rows that could not be processed are run again, and merged with the others.
        overwrite: Whether an existing output may be replaced.
        restart: Whether what an earlier run of the job has finished is thrown away.
        progress: "auto" is a bar on a terminal and plain lines elsewhere; "json" one object a line; "none".
        metrics: A text file for Prometheus that is written again every few seconds; None goes without.
        engine: "local", or "ray" for a pool of worker processes.
        workers: Of the Ray engine.
        gpus_per_worker: Of the Ray engine; a share of one lets workers share a GPU.
    """

    source: Source
    output: str
    columns: Columns = field(default_factory=Columns)
    top_k: int = 5
    generation: "GenerationSettings | None" = None
    fairness: bool = False
    decision: DecisionSettings | None = None
    min_confidence: float = 0.0
    write_undecided: bool = False
    sets: float | None = None
    sets_kind: ConformalKind = "per_topic"
    target_prior: dict[str, float] | str | None = None
    estimate_rows: int = 20_000
    keep: Sequence[str] = ()
    limit: int | None = None
    shard_rows: int | None = None
    max_errors: float | None = None
    max_shift: float | None = None
    max_undecided: float | None = None
    retry_errors: bool = False
    overwrite: bool = False
    restart: bool = False
    progress: ProgressKind = "auto"
    metrics: str | None = None
    engine: Engine = "local"
    workers: int = 2
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        counts = ("top_k", "estimate_rows", "limit", "shard_rows", "workers")
        given = {name: getattr(self, name) for name in counts}
        small = {name: value for name, value in given.items() if value is not None and value < 1}
        problems = [f"{name} is {value}; give at least 1" for name, value in small.items()]
        if not 0 <= self.min_confidence <= 1:
            problems.append(f"min_confidence is {self.min_confidence}; give a number from 0 to 1")
        if self.sets is not None and not 0 < self.sets < 1:
            problems.append(f"sets is {self.sets}; give an error rate between 0 and 1, as 0.1")
        most = self.max_errors
        if most is not None and (most < 0 or (most >= 1 and most % 1)):
            problems.append(f"max_errors is {most}; give a whole number of rows, or a share below 1")
        for name in ("max_shift", "max_undecided"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                problems.append(f"{name} is {value}; give a number from 0 to 1")
        problems += _problems_of_kept(self.keep)
        if self.gpus_per_worker < 0:
            problems.append(f"gpus_per_worker is {self.gpus_per_worker}; give at least 0")
        for name, known in (("engine", ("local", "ray")), ("progress", ("auto", "json", "none"))):
            if getattr(self, name) not in known:
                problems.append(f"{name} is {getattr(self, name)!r}; give one of {', '.join(known)}")
        if problems:
            raise UserError("; ".join(problems))
        if isinstance(self.target_prior, str) and self.target_prior not in _PRIORS:
            object.__setattr__(self, "target_prior", _read_prior(Path(self.target_prior)))

    def layout(self, form: RowFormat) -> Layout:
        """How the result rows are written."""
        return Layout(form, self.sets is not None, tuple(self.keep))

    def predict_options(self, window: int) -> PredictOptions:
        """What the pipeline's call is asked for, with batches formed within `window` rows."""
        return PredictOptions(
            self.top_k,
            self.generation,
            self.fairness,
            self.min_confidence,
            self.write_undecided,
            window,
            self.sets,
            self.sets_kind,
        )

    def _options_in_results(self, window: int) -> dict[str, Any]:
        # A job without sets, guidance, or a decision of its own, has the plan that it had before there were any, and
        # goes on.
        options = asdict(self.predict_options(window))
        if self.generation is not None and self.generation.guidance == 1:
            del options["generation"]["guidance"]
        return (
            options if self.sets is not None else {k: v for k, v in options.items() if k not in ("sets", "sets_kind")}
        )

    def in_results(self, window: int) -> dict[str, Any]:
        """The settings that change a byte of the results, as plain values; the others may differ in a resumed run."""
        estimate_rows = self.estimate_rows if self.target_prior in ("adaptive", "estimate") else None
        return {
            **self._options_in_results(window),
            **({} if self.decision is None else {"decision": asdict(self.decision)}),
            "columns": asdict(self.columns),
            "target_prior": self.target_prior,
            "estimate_rows": estimate_rows,
            "limit": self.limit,
            **({"keep": list(self.keep)} if self.keep else {}),
        }


def _problems_of_kept(keep: Sequence[str]) -> Iterator[str]:
    for name in keep:
        if name in (*NAMES, SET):
            yield f"keep names {name!r}, which results have of their own; leave it out"
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
        raise UserError(f'{path} holds no shares by topic; write {{"TOPIC": 0.25, ...}}') from error
