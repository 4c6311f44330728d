"""Measures the seconds of `import unskew` and of every command's help: medians over whole processes.

python benchmarks/startup.py --repeats 7
"""

import argparse
import subprocess
import sys
import time
from statistics import median

from unskew.cli.main import COMMANDS


def seconds(arguments: list[str], repeats: int) -> float:
    """The median wall time of a process, after a first one that warms the disk cache."""
    found = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        subprocess.run(arguments, check=True, capture_output=True)
        found.append(time.perf_counter() - begun)
    return median(found[1:])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    python = seconds([sys.executable, "-c", "pass"], repeats)
    print(f"| process | seconds |\n|---|---|\n| python -c pass | {python:.2f} |")
    own = seconds([sys.executable, "-c", "import unskew"], repeats) - python
    print(f"| import unskew, less python's start | {own:.3f} |")
    for command in COMMANDS:
        code = f"from unskew.cli.main import main; main(['{command}', '--help'])"
        print(f"| unskew {command} --help | {seconds([sys.executable, '-c', code], repeats):.2f} |", flush=True)
