"""Measures the seconds of `import unskew` and of every command's help: medians over whole processes.

python benchmarks/startup.py --repeats 7

Seconds by the clock, which need a quiet machine, and seconds of the processor, which do not.
"""

import argparse
import os
import subprocess
import sys
import time
from statistics import median

from unskew.cli.main import COMMANDS, JOB


def seconds(arguments: list[str], repeats: int) -> tuple[float, float]:
    """The median time of a process by the clock and of the processor, after a first one that warms the disk cache."""
    found = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        found.append((time.perf_counter() - begun, used.ru_utime + used.ru_stime))
        if status:
            sys.exit(f"failed: {' '.join(arguments)}")
    wall, processor = zip(*found[1:], strict=True)
    return median(wall), median(processor)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    python = seconds([sys.executable, "-c", "pass"], repeats)
    print("| process | seconds | of the processor |\n|---|---|---|")
    print(f"| python -c pass | {python[0]:.2f} | {python[1]:.2f} |")
    own = seconds([sys.executable, "-c", "import unskew"], repeats)
    print(f"| import unskew, less python's start | {own[0] - python[0]:.3f} | {own[1] - python[1]:.3f} |")
    for command in (*COMMANDS, JOB):
        code = f"from unskew.cli.main import main; main(['{command}', '--help'])"
        wall, processor = seconds([sys.executable, "-c", code], repeats)
        print(f"| unskew {command} --help | {wall:.2f} | {processor:.2f} |", flush=True)
