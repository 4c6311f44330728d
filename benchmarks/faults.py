"""Kills a job at random moments until it is done, and compares its bytes with those of an uninterrupted run.

    python benchmarks/faults.py --kills 50
    python benchmarks/faults.py --kills 50 --model runs/demo --input runs/newsroom/test.jsonl
    python benchmarks/faults.py --kills 20 --s3 --output out

With --s3, input and output are in object storage: an S3 server (moto) that runs here. Without a model the pipeline is a
fake one, so only the job is tested; with a model it is `unskew predict`. Two of three kills are SIGKILL, the others
SIGTERM.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from unskew.common import AnyPath, any_path

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from object_store import client, in_environment, s3_server  # noqa: E402

FAKE = Path(__file__).parent.parent / "tests" / "jobs" / "fake_job.py"
ROWS = 20_000


def main() -> None:
    """Run, kill, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--model")
    parser.add_argument("--input")
    parser.add_argument(
        "--output", default="out.jsonl", help="output; its name decides between JSONL, Parquet and a folder"
    )
    parser.add_argument("--shard_rows", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--s3", action="store_true", help="read and write an S3 server that is started here")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(chosen.input) if chosen.input else make_rows(Path(scratch) / "in.jsonl")
        if not chosen.s3:
            try_out(chosen, source, Path(scratch))
            return
        with s3_server() as environment, in_environment(environment):
            s3 = client(environment)
            s3.create_bucket(Bucket="job")
            s3.upload_file(str(source), "job", f"in/{source.name}")
            bucket = any_path("s3://job")
            try_out(chosen, bucket / "in" / source.name, bucket)


def try_out(chosen: argparse.Namespace, source: AnyPath, scratch: AnyPath) -> None:
    """Run once without kills and once with kills, and compare."""
    start = time.monotonic()
    subprocess.run(command(chosen, source, scratch / "whole" / chosen.output), check=False, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - start
    draw = random.Random(chosen.seed)
    killed = command(chosen, source, scratch / "killed" / chosen.output)
    kills = runs = interrupted = 0
    while True:
        start = time.monotonic()
        process = subprocess.Popen(killed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        runs += 1
        if kills < chosen.kills:
            # Kills are spread evenly over the run; a job that ends before its last kill starts again.
            try:
                process.wait(draw.uniform(0, seconds * 1.1))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGTERM if kills % 3 == 2 else signal.SIGKILL)
                kills += 1
                interrupted += 1
        if process.wait() in (0, 3):
            if interrupted == 0:
                seconds = time.monotonic() - start  # the machine may be faster by now, so that kills come too late
            compare(scratch, f"{runs} runs, {kills} kills")
            if kills >= chosen.kills:
                return
            interrupted = 0
            for file in files(scratch / "killed"):
                file.unlink()


def command(chosen: argparse.Namespace, source: AnyPath, output: AnyPath) -> list[str]:
    """The job as a process."""
    if chosen.model is None:
        options = {"shard_rows": chosen.shard_rows or 500, "progress": "none", "pause": 0.0002}
        return [sys.executable, str(FAKE), str(source), str(output), json.dumps(options)]
    call = ["unskew", "predict", "--model", chosen.model, "--input", str(source), "--output", str(output)]
    size = ["--shard_rows", str(chosen.shard_rows or 100)]
    return [str(Path(sys.executable).parent / call[0]), *call[1:], *size, "--progress", "none"]


def make_rows(path: Path) -> Path:
    """Rows, some of which crash the fake pipeline, and some of which are broken."""
    broken = {7: "POISON", 4000: "PANIC", 9999: ""}
    rows = [{"id": f"r{i}", "text": broken.get(i, f"row {i} of a long night")} for i in range(ROWS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def compare(scratch: AnyPath, said: str) -> None:
    """Raise unless both runs wrote the same files."""
    found = [contents(scratch / name) for name in ("whole", "killed")]
    if found[0] != found[1]:
        raise SystemExit(
            f"{said}: the bytes differ in {sorted(name for name in found[0] if found[0][name] != found[1].get(name))}"
        )
    print(f"{said}: {len(found[0])} files, {sum(map(len, found[0].values())):,} bytes, all the same", flush=True)


def contents(folder: AnyPath) -> dict[str, bytes]:
    """Every file of a finished job except its manifest."""
    found = [path for path in files(folder) if path.name not in (".lock", "job.json")]
    return {"/".join(path.parts[len(folder.parts) :]): path.read_bytes() for path in found}


def files(folder: AnyPath) -> list[AnyPath]:
    """Every file below a folder."""
    if isinstance(folder, Path):
        return [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return list(folder.files())


if __name__ == "__main__":
    main()
