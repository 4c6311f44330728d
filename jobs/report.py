"""Reports the work and cost of a job, from the records of its shards. Knows no file and no model."""

import resource
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ..common import UserError
from ..corpus import Topics

if TYPE_CHECKING:  # importing it loads the models' libraries
    from ..runtime import Usage

IN_RECORDS = ("cost", "topics", "undecided")  # only in records of shards; a job keeps their sums


class Meter:
    """Measures the work of a pipeline from now on; if the pipeline does not count, only by the clock."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline, self._start = pipeline, time.perf_counter()
        self._claimed: float = getattr(pipeline, "claimed_seconds", 0.0)
        self._before: dict[str, Usage] = getattr(pipeline, "usage", {})

    def cost(self) -> dict[str, Any]:
        """Seconds and usage of each stage since the start, and the peak memory of this process in bytes.

        What a first pass had done for these rows counts too.
        """
        claimed: float = getattr(self._pipeline, "claimed_seconds", 0.0) - self._claimed
        now: dict[str, Usage] = getattr(self._pipeline, "usage", {})
        return {
            "seconds": time.perf_counter() - self._start + claimed,
            "stages": {name: asdict(now[name].since(before)) for name, before in self._before.items()},
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            "gpu_memory": _gpu_memory(),
        }


@dataclass
class Totals:
    """Sums over the records of shards: with the records themselves, memory would grow with topics times shards.

    Attributes:
        topics: Rows of each most probable topic.
        undecided: Rows without a topic.
        timed_rows: Rows, errors included, of shards with a known cost.
        seconds: Seconds of these shards.
        stages: Usage of each stage.
        memory: Peak memory of a process, in bytes.
        gpu_memory: Peak memory of a process on a GPU, in bytes; None without one.
    """

    topics: Counter[str] = field(default_factory=Counter)
    undecided: int = 0
    timed_rows: int = 0
    seconds: float = 0.0
    stages: dict[str, Counter[str]] = field(default_factory=dict)
    memory: int = 0
    gpu_memory: int | None = None

    def add(self, shard: Mapping[str, Any]) -> None:
        """Count the record of a shard."""
        self.topics.update(shard.get("topics", {}))
        self.undecided += shard.get("undecided", 0)
        if cost := shard.get("cost"):
            self.timed_rows += shard["rows"] + shard["errors"]
            self.seconds += cost["seconds"]
            _add_stages(self.stages, cost["stages"])
            self.memory = max(self.memory, cost["memory"])
            self.gpu_memory = _larger(self.gpu_memory, cost["gpu_memory"])


def summarise(
    shards: Sequence[Mapping[str, Any]],
    totals: Totals,
    topics: Topics,
    before: Mapping[str, Any] | None,
    sampled: float = 0.0,
) -> dict[str, Any]:
    """The report of a job.

    Args:
        shards: Records of all its shards; they may lack what is in `totals`.
        totals: Sums over these records.
        topics: Topics with their training rows.
        before: Report of the run whose errors were run again, because the shards lack its cost.
        sampled: Seconds of work on a sample of the rows, before the shards.
    """
    rows, errors = sum(shard["rows"] for shard in shards), sum(shard["errors"] for shard in shards)
    earlier = before or {"seconds": sampled, "stages": {}, "peak_memory": 0, "peak_gpu_memory": None}
    seconds = totals.seconds + earlier["seconds"]
    shares = _shares(totals.topics, topics)
    return {
        "input_rows": rows + errors,
        "output_rows": rows,
        "error_rows": errors,
        "undecided_rows": totals.undecided,
        "seconds": round(seconds, 3),
        "rows_per_second": _rate(rows + errors, seconds),
        "stages": _stages(totals.stages, earlier["stages"]),
        "peak_memory": max(totals.memory, earlier["peak_memory"]),
        "peak_gpu_memory": _larger(totals.gpu_memory, earlier["peak_gpu_memory"]),
        "topics": shares,
        "shift": _shift(shares),
    }


def reconcile(
    shards: Sequence[Mapping[str, Any]], shard_rows: int, at_most: int | None, before: Mapping[str, Any] | None = None
) -> None:
    """Check that every row of the input is in one shard, as a result or as an error.

    Args:
        shards: Records of the shards, in order.
        shard_rows: Rows of every shard but the last.
        at_most: Counted rows of the input.
        before: Report of the run whose errors were run again; its rows are exactly these.

    Raises:
        UserError: If a row is missing or there are too many.
    """
    sizes = [shard["rows"] + shard["errors"] for shard in shards]
    whole = [shard["index"] for shard in shards] == list(range(len(shards)))
    known, rows = before["input_rows"] if before else at_most, sum(sizes)
    fits = rows == known if before else known is None or rows <= known
    if not whole or any(size != shard_rows for size in sizes[:-1]) or not fits:
        raise UserError(
            f"the results do not add up: {rows:,} rows in {len(sizes):,} shards of {shard_rows:,}, but the "
            f"input has {'some' if known is None else format(known, ',')}; give --restart to start again"
        )


def drift(report: Mapping[str, Any], max_shift: float | None, max_undecided: float | None) -> tuple[str, ...]:
    """Warnings about thresholds that were exceeded."""
    found: list[str] = []
    if max_shift is not None and report["shift"] is not None and report["shift"] > max_shift:
        found.append(
            f"the topics' shares are {report['shift']:.3f} away from the training set's, more than max_shift "
            f"{max_shift:g} allows: look at the topics in job.json, label some of these rows and fit again"
        )
    if max_undecided is not None and report["undecided_rows"] > max_undecided * report["output_rows"]:
        share = report["undecided_rows"] / report["output_rows"]
        found.append(
            f"{share:.1%} of the rows are undecided, more than max_undecided {max_undecided:g} allows: these texts "
            "may differ in kind from the training set"
        )
    return tuple(found)


def _add_stages(sums: dict[str, Counter[str]], usage: Mapping[str, Mapping[str, Any]]) -> None:
    for stage, its in usage.items():
        sums.setdefault(stage, Counter()).update({name: its[name] for name in its if not name.endswith("_second")})


def _stages(*all_usage: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    sums: dict[str, Counter[str]] = {}
    for usage in all_usage:
        _add_stages(sums, usage)
    return {
        stage: {
            **its,
            "seconds": round(its["seconds"], 3),
            "rows_per_second": _rate(its["rows"], its["seconds"]),
            "tokens_per_second": _rate(its["tokens_read"] + its["tokens_written"], its["seconds"]),
        }
        for stage, its in sums.items()
    }


def _shares(counts: Counter[str], topics: Topics) -> dict[str, dict[str, Any]]:
    rows, training = sum(counts.values()), sum(topics.counts)
    return {
        name: {
            "rows": counts[name],
            "share": counts[name] / rows if rows else None,
            "training_share": count / training if training else None,
        }
        for name, count in zip(topics.names, topics.counts, strict=True)
    }


def _shift(shares: Mapping[str, Mapping[str, Any]]) -> float | None:
    """The total variation distance: half the sum of absolute differences of shares; None if one is not known."""
    pairs = [(its["share"], its["training_share"]) for its in shares.values()]
    if any(None in pair for pair in pairs):
        return None
    return sum(abs(now - before) for now, before in pairs) / 2


def _larger(first: int | None, second: int | None) -> int | None:
    return max((value for value in (first, second) if value is not None), default=None)


def _rate(count: float, seconds: float) -> float | None:
    return round(count / seconds, 2) if seconds > 0 else None


def _gpu_memory() -> int | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return torch.cuda.max_memory_allocated()
