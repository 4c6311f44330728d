"""Reports the work and cost of a job, from the records of its shards. Knows no file and no model."""

import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..common import UserError
from ..corpus import Topics

if TYPE_CHECKING:  # importing it loads the models' libraries
    from ..runtime import Usage

IN_RECORDS = ("cost", "topics", "undecided")  # only in records of shards; a finished job has their sums


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


def summarise(
    shards: Sequence[Mapping[str, Any]], topics: Topics, before: Mapping[str, Any] | None, sampled: float = 0.0
) -> dict[str, Any]:
    """The report of a job.

    Args:
        shards: Records of all its shards.
        topics: Topics with their training rows.
        before: Report of the run whose errors were run again, because the shards lack its cost.
        sampled: Seconds of work on a sample of the rows, before the shards.
    """
    costs = [shard["cost"] for shard in shards if "cost" in shard]
    stages = _stages([*(cost["stages"] for cost in costs), *([before["stages"]] if before else [])])
    rows, errors = sum(shard["rows"] for shard in shards), sum(shard["errors"] for shard in shards)
    seconds = sum(cost["seconds"] for cost in costs) + (before["seconds"] if before else sampled)
    peaks = [(cost["memory"], cost["gpu_memory"]) for cost in costs]
    peaks += [(before["peak_memory"], before["peak_gpu_memory"])] if before else []
    counts = Counter[str]()
    for shard in shards:
        counts.update(shard.get("topics", {}))
    shares = _shares(counts, topics)
    return {
        "input_rows": rows + errors,
        "output_rows": rows,
        "error_rows": errors,
        "undecided_rows": sum(shard.get("undecided", 0) for shard in shards),
        "seconds": round(seconds, 3),
        "rows_per_second": _rate(rows + errors, seconds),
        "stages": stages,
        "peak_memory": max((memory for memory, _ in peaks), default=0),
        "peak_gpu_memory": max((memory for _, memory in peaks if memory is not None), default=None),
        "topics": shares,
        "shift": _shift(shares),
    }


def reconcile(shards: Sequence[Mapping[str, Any]], shard_rows: int, at_most: int | None) -> None:
    """Check that every row of the input is in one shard, as a result or as an error.

    Args:
        shards: Records of the shards, in order.
        shard_rows: Rows of every shard but the last.
        at_most: Counted rows of the input.

    Raises:
        UserError: If a row is missing or there are too many.
    """
    sizes = [shard["rows"] + shard["errors"] for shard in shards]
    whole = [shard["index"] for shard in shards] == list(range(len(shards)))
    if not whole or any(size != shard_rows for size in sizes[:-1]) or (at_most is not None and sum(sizes) > at_most):
        raise UserError(
            f"the results do not add up: {sum(sizes):,} rows in {len(sizes):,} shards of {shard_rows:,}, but the "
            f"input has {'some' if at_most is None else format(at_most, ',')}; give --restart to start again"
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


def _stages(all_usage: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    sums: dict[str, Counter[str]] = {}
    for usage in all_usage:
        for stage, its in usage.items():
            sums.setdefault(stage, Counter()).update({name: its[name] for name in its if not name.endswith("_second")})
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


def _rate(count: float, seconds: float) -> float | None:
    return round(count / seconds, 2) if seconds > 0 else None


def _gpu_memory() -> int | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return torch.cuda.max_memory_allocated()
