"""Measures a job by number of rows (time, memory, share of the models) and by number of Ray workers (time).

    python benchmarks/scaling.py --model runs/demo --rows 1000,10000,100000 --workers 1,2

The rows are those of the demo's newsroom, made here. Each point is a job in its own process, with one arithmetic thread
per process, so that workers add only processes. "Outside the models" is everything except the encoder's forward passes
and the decoder's engine: reading, tokenising, deciding, decoding tokens to text, writing.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from throughput_arms import peak_bytes

from unskew.common import write_jsonl
from unskew.corpus import Newsroom
from unskew.decoder.engine import Engine
from unskew.jobs import JobSettings, open_model, run


def main() -> None:
    """Measure every point; print a table of rows and one of workers."""
    if sys.argv[1:2] == ["--point"]:
        print(json.dumps(point(*sys.argv[2:])))
        return
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=str, required=True, help="a bundle fitted on a newsroom")
    parser.add_argument("--rows", type=str, default="1000,10000,100000", help="of the jobs on this process")
    parser.add_argument("--workers", type=str, default="1,2", help="of the jobs on Ray")
    parser.add_argument("--ray_rows", type=int, default=10_000, help="of the jobs on Ray")
    given = parser.parse_args()
    rows = [int(number) for number in given.rows.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        for count in sorted({*rows, given.ray_rows}):
            records = Newsroom(difficulty=0.5, seed=0).sample(count, None, [7, count], "row")
            write_jsonl(place / f"{count}.jsonl", ({"id": record.id, "text": record.text} for record in records))
        print("| rows | wall s | rows/s | outside the models | peak MB |\n|---|---|---|---|---|")
        for count in rows:
            found = measured(given.model, place / f"{count}.jsonl", place / f"out-{count}.jsonl", 0)
            outside = 1 - found["models"] / found["work"]
            print(
                f"| {count:,} | {found['wall']:.1f} | {count / found['work']:.0f} | {outside:.1%} "
                f"| {found['peak'] / 2**20:.0f} |",
                flush=True,
            )
        print("\n| Ray workers | wall s | rows/s once all are loaded | against one |\n|---|---|---|---|")
        first = None
        for workers in (int(number) for number in given.workers.split(",")):
            found = measured(given.model, place / f"{given.ray_rows}.jsonl", place / f"ray-{workers}.jsonl", workers)
            rate = given.ray_rows / found["work"]
            first = first or rate
            print(f"| {workers} | {found['wall']:.1f} | {rate:.0f} | {rate / first:.2f} |", flush=True)


def measured(model: str, source: Path, output: Path, workers: int) -> dict[str, Any]:
    """One point, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, __file__, "--point", model, str(source), str(output), str(workers)]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    return {**json.loads(done.stdout.splitlines()[-1]), "wall": time.monotonic() - start}


def point(model: str, source: str, output: str, workers: str) -> dict[str, Any]:
    """Run one job; seconds of work (without loading, from the first row told on) and in the models, peak bytes."""
    options: dict[str, Any] = {"executor": "ray", "workers": int(workers)} if int(workers) else {}
    job = JobSettings(source, output, progress="none", shard_rows=1000, **options)
    system = open_model(model, "cpu", job=job)
    spent = {"models": 0.0, "loaded": time.monotonic()}
    if not int(workers):
        system = replace(system, load=timed(system.load, spent))
    else:
        # Loading takes place in the workers; a job of one window each is what loading and starting take.
        begun = time.monotonic()
        run(system, replace(job, output=output + "-warm.jsonl", limit=int(workers), shard_rows=1))
        spent["loading"] = time.monotonic() - begun
    begun = time.monotonic()
    run(system, job)
    ended = time.monotonic()
    work = ended - begun - spent["loading"] if int(workers) else ended - spent["loaded"]
    return {
        "work": work,
        "models": spent["models"],
        "peak": peak_bytes("cpu"),
    }


def timed(load: Any, spent: dict[str, float]) -> Any:
    """A loader whose models add the seconds that they work to `spent`."""

    def loaded(prior: Any) -> Any:
        pipeline = load(prior)
        model = pipeline.encoder.model
        model.forward = clocked(model.forward, spent)
        Engine.write = clocked(Engine.write, spent)
        spent["loaded"] = time.monotonic()
        return pipeline

    return loaded


def clocked(work: Any, spent: dict[str, float]) -> Any:
    """The same function under a clock."""

    @wraps(work)
    def under_clock(*args: Any, **kwargs: Any) -> Any:
        begun = time.perf_counter()
        try:
            return work(*args, **kwargs)
        finally:
            spent["models"] += time.perf_counter() - begun

    return under_clock


if __name__ == "__main__":
    main()
