"""A job over a fake pipeline, as a process to be killed: python fake_job.py INPUT OUTPUT [OPTIONS].

OPTIONS are a JSON object of `JobSettings`, `pause`, seconds that each row takes, `pids`, a folder where each process
that holds a pipeline leaves a file of its number, and `copied`, the URL of a bundle of which each such process needs a
copy. What the fake writes depends on the rows that are together in a window, so that a run which forms other windows
writes other bytes.
"""

import json
import os
import signal
import sys
import time
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from unskew.common import Terminated, UserError, ending_in_order
from unskew.corpus import Topics
from unskew.jobs import JobSettings, ModelHandle, run
from unskew.pipeline.remote_bundle import local_copy

WINDOW = 7


class Panic(BaseException):
    """As the panics of the tokenizers' Rust: no `Exception`."""


@dataclass
class FakeResult:
    topic: str | None
    confidence: float
    topics: dict[str, float]
    output: str | None


class FakePipeline:
    def __init__(self, pause, pids, copied, prior):
        self.pause = pause
        self.prior = prior
        if pids:
            (Path(pids) / str(os.getpid())).touch()
        if copied:
            local_copy(copied, "unskew.json")

    def __call__(self, texts, *, window, min_confidence=0.0, **_):
        for start in range(0, len(texts), WINDOW):
            held = texts[start : start + WINDOW]
            time.sleep(self.pause * len(held))
            for text in held:
                if "POISON" in text:
                    raise ValueError("a poisonous\nrow")
                if "DEADLY" in text:
                    os.kill(os.getpid(), signal.SIGKILL)
                if "PANIC" in text:
                    raise Panic("index out of bounds")
                if "BROKEN GPU" in text:
                    self.broken = True
                if hasattr(self, "broken"):
                    raise RuntimeError("the GPU is broken")
            together = zlib.crc32("\0".join(held).encode())
            for text in held:
                share = 0.5 + zlib.crc32(text.encode()) / 2**33
                output = f"{text[:40]} ({together}, {self.prior})"
                yield FakeResult("oil" if share >= min_confidence else None, share, {"oil": share}, output)


def fake_system(pause=0.0, pids=None, copied=None, **state):
    load = partial(FakePipeline, pause, pids, copied)
    return ModelHandle(load, {"bundle": "fake", **state}, Topics(("oil", "sea"), (9, 1)))


if __name__ == "__main__":
    options = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    try:
        with ending_in_order():
            given = {name: options.pop(name) for name in ("pause", "pids", "copied") if name in options}
            system = fake_system(**given)
            print(run(system, JobSettings(sys.argv[1], sys.argv[2], **options)))
    except Terminated as end:
        sys.exit(end.exit_code)
    except UserError as error:
        print(error)
        sys.exit(2)
