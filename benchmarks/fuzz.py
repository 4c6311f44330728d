"""Spoils bundles, records, job folders, predictions and results for some minutes, and counts what happens.

    python benchmarks/fuzz.py --minutes 10 --seed 0

Writes benchmarks/results/fuzz.md. An input counts as a hang after 30 s, as a traceback if anything except a one-line
`UserError` is raised, and as data loss if reading it changed, removed or added a file.
"""

import argparse
import logging
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from fuzzing import TARGETS, DataLostError, attempt  # noqa: E402

SECONDS = 30


class Hang(BaseException):
    """An input took too long."""


def main() -> None:
    """Run the targets in turn until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument(
        "--seed", type=int, default=0, help="Seed of the first input; later inputs have the next numbers."
    )
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, _hang)
    counts = {name: Counter() for name in TARGETS}
    begun, seed = time.monotonic(), given.seed
    share = given.minutes * 60 / len(TARGETS)
    for name in TARGETS:
        ends = time.monotonic() + share
        seed = given.seed
        while time.monotonic() < ends:
            counts[name][_outcome(name, seed)] += 1
            seed += 1
    _write(counts, given, time.monotonic() - begun)


def _hang(*_: Any) -> None:
    raise Hang


def _outcome(name: str, seed: int) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        signal.alarm(SECONDS)
        try:
            return attempt(name, Path(scratch), seed)
        except DataLostError:
            print(f"data lost: {name} {seed}", flush=True)
            return "data lost"
        except Hang:
            print(f"hang: {name} {seed}", flush=True)
            return "hang"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            print(
                f"traceback: {name} {seed}\n{''.join(traceback.format_exc().splitlines(keepends=True)[-6:])}",
                flush=True,
            )
            return "traceback"
        finally:
            signal.alarm(0)


def _write(counts: dict[str, Counter], given: argparse.Namespace, seconds: float) -> None:
    lines = [
        "# Spoilt inputs",
        "",
        f"`python benchmarks/fuzz.py --minutes {given.minutes:g} --seed {given.seed}`,",
        f"{seconds / 60:.1f} minutes on a CPU.",
        "Each input has one thing wrong: see `tests/fuzzing.py`.",
        "",
        "| read | inputs | refused in one line | accepted | tracebacks | hangs (over 30 s) | data lost |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, found in counts.items():
        shown = (found[kind] for kind in ("refused", "accepted", "traceback", "hang", "data lost"))
        lines.append(f"| {name} | {found.total():,} | " + " | ".join(f"{count:,}" for count in shown) + " |")
    text = "\n".join(lines) + "\n"
    print(text)
    (ROOT / "benchmarks" / "results" / "fuzz.md").write_text(text)


if __name__ == "__main__":
    main()
