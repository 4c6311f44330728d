"""Measures the cost of a large noisy set before and during training: memory and time by rows, step by step.

    python benchmarks/scale.py --rows 200000,1000000,5000000 --output scale.json --picture benchmarks/results/scale.png

Every number of rows is kept in OUTPUT once it is measured, so the same command continues after an interruption. Five
million rows take about half an hour of one core, and 4 GB of $TMPDIR.

Rows of about 300 characters are made here; the first ones are also in the validation set. Each number of rows has its
own process, which first does everything with a thousand rows to load the libraries. Memory is the peak resident size
during a step minus the size before it. Processor time is summed over threads, and depends less on other load than wall
time. The encoder is tiny, and its tokenizer is trained on the clean rows.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from unskew.common import check_disk, write_text

TOPICS = 20
SHARED = 25  # rows that are also among those validated on
STEPS = ("read, check, store", "leave out what is validated on", "tokenise", "training steps")
DRAWN_TO = 20_000_000
BYTES_OF_ROW = 900  # on disk, in all files


def main() -> None:
    """Measure each number of rows; print a table, keep the figures, draw the picture."""
    if sys.argv[1:2] == ["--point"]:
        print(json.dumps(point(*map(int, sys.argv[2:]))))
        return
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=str, default="100000,1000000")
    parser.add_argument("--steps", type=int, default=50, help="training steps that are measured")
    parser.add_argument("--words", type=int, default=38, help="in a text; memory goes by rows, time by words")
    parser.add_argument("--output", type=str, required=True, help="JSON; numbers of rows that it holds are kept")
    parser.add_argument("--picture", type=str, default=None)
    given = parser.parse_args()
    kept = Path(given.output)
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    for rows in given.rows.split(","):
        if rows not in found:
            found[rows] = measured(int(rows), given.steps, given.words)
            write_text(kept, json.dumps(found, indent=1) + "\n")
    by_rows = {int(rows): figures for rows, figures in found.items()}
    print(table(dict(sorted(by_rows.items()))))
    if given.picture is not None:
        draw(dict(sorted(by_rows.items())), Path(given.picture))


def measured(rows: int, steps: int, words: int) -> dict[str, Any]:
    """One number of rows, in a process of its own with one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, __file__, "--point", str(rows), str(steps), str(words)],
        stdout=subprocess.PIPE,
        check=True,
        env=environment,
    )
    return json.loads(done.stdout.splitlines()[-1])


def point(rows: int, steps: int, words: int) -> dict[str, Any]:
    """Bytes and seconds of each step, once all of them have been done with a few rows."""
    with tempfile.TemporaryDirectory() as scratch:
        steps_of(1_000, steps, words, Path(scratch), 0)
    with tempfile.TemporaryDirectory() as scratch:
        check_disk(Path(scratch), rows * BYTES_OF_ROW)
        return steps_of(rows, steps, words, Path(scratch), resident())


def steps_of(rows: int, steps: int, words: int, place: Path, before: int) -> dict[str, Any]:
    """The steps, each with the most bytes resident beyond `before`."""
    from unskew.corpus import Columns, RowStore
    from unskew.encoder import EncoderSettings, fit_encoder, make_base
    from unskew.encoder.data import Rows
    from unskew.pipeline import DataSettings
    from unskew.pipeline.datasets import read_sets
    from unskew.training import PhaseSettings

    found: dict[str, Any] = {"steps": {}}
    write_rows(place / "clean.jsonl", 2_000, words, seed=1)
    write_rows(place / "validation.jsonl", 500, words, seed=2)
    write_rows(place / "noisy.jsonl", rows, words, seed=3, head=SHARED)
    found["file_bytes"] = (place / "noisy.jsonl").stat().st_size
    settings = EncoderSettings(
        max_tokens=128,
        noisy=PhaseSettings(epochs=1, max_steps=steps),
        head=PhaseSettings(epochs=0),
        clean=PhaseSettings(epochs=1, max_steps=1, learning_rate=1e-4),
        trainer={"accelerator": "cpu", "devices": 1},
    ).resolved()
    data = DataSettings(
        str(place / "clean.jsonl"), noisy=str(place / "noisy.jsonl"), validation=str(place / "validation.jsonl")
    )
    with measuring(found, STEPS[0], before):
        RowStore.of(data.noisy or "", Columns(), place / "rows")
    with measuring(found, STEPS[1], before):
        sets = read_sets(data, 0, cache=place / "rows")
    assert sets.noisy is not None
    assert len(sets.noisy) == rows - SHARED
    model, tokenizer = make_base(settings, sets.topics, [record.text for record in sets.train], 0)
    model.save_pretrained(place / "base")
    tokenizer.save_pretrained(place / "base")
    with measuring(found, STEPS[2], before):
        Rows.from_records(sets.noisy, sets.topics, tokenizer, settings.max_tokens)
    # A saved base, so that the noisy texts train no tokenizer.
    noisy = replace(settings.noisy, learning_rate=1e-4)
    fixed = replace(settings, base=str(place / "base"), recipe="phases", noisy=noisy)
    with measuring(found, STEPS[3], before):
        fit_encoder(sets.train, sets.validation, sets.noisy, sets.topics, fixed, place / "fit", 0)
    found["disk_bytes"] = sum(path.stat().st_size for path in (place / "rows").rglob("*") if path.is_file())
    return found


def write_rows(path: Path, rows: int, words: int, seed: int, head: int = 0) -> None:
    """Rows of so many words, each of some 7 letters, and a topic; the first `head` are those of seed 2."""
    known = ["".join(random.Random(i).choices("abcdefghijklmnoprstuvwy", k=3 + i % 8)) for i in range(20_000)]
    draws = [random.Random(2), random.Random(seed)]
    with path.open("w") as file:
        for row in range(rows):
            draw = draws[0 if row < head else 1]
            topic = int(draw.random() ** 2 * TOPICS)
            text = " ".join(draw.choices(known, k=words))
            file.write(json.dumps({"id": str(row), "topic": f"topic {topic}", "text": f"{known[topic]} {text}"}) + "\n")


@contextmanager
def measuring(found: dict[str, Any], name: str, before: int) -> Iterator[None]:
    """Note the peak of resident memory beyond `before`, and the seconds, of a block."""
    print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
    wall, used = time.monotonic(), time.process_time()
    yield
    figures = {"wall": time.monotonic() - wall, "processor": time.process_time() - used}
    found["steps"][name] = {**figures, "bytes": resident("VmHWM") - before}


def resident(name: str = "VmRSS") -> int:
    """Bytes that this process holds, or (VmHWM) held at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def table(by_rows: dict[int, dict[str, Any]]) -> str:
    """The figures, and the line through the two largest numbers of rows at `DRAWN_TO`."""
    lines = ["| rows | " + " | ".join(f"{step}: MB, s (processor)" for step in STEPS) + " | file MB | disk MB |"]
    lines.append("|---" * (len(STEPS) + 3) + "|")
    for rows, figures in by_rows.items():
        steps = [figures["steps"][step] for step in STEPS]
        cells = [f"{one['bytes'] / 2**20:,.0f}, {one['wall']:,.0f} ({one['processor']:,.0f})" for one in steps]
        sizes = [f"{figures[name] / 2**20:,.0f}" for name in ("file_bytes", "disk_bytes")]
        lines.append(f"| {rows:,} | {' | '.join([*cells, *sizes])} |")
    if len(by_rows) > 1:
        steps = [[line(by_rows, step, name) for name in ("bytes", "wall", "processor")] for step in STEPS]
        cells = [f"{size / 2**20:,.0f}, {wall:,.0f} ({used:,.0f})" for size, wall, used in steps]
        lines.append(f"| {DRAWN_TO:,}, drawn | {' | '.join(cells)} | | |")
    return "\n".join(lines)


def line(by_rows: dict[int, dict[str, Any]], step: str, name: str, at: int = DRAWN_TO) -> float:
    """A figure at so many rows, on the straight line through the two largest numbers of rows."""
    (x, low), (y, high) = list(by_rows.items())[-2:]
    first, second = (figures["steps"][step][name] for figures in (low, high))
    return max(second, first + (second - first) * (at - x) / (y - x))  # what is flat wavers, and is drawn flat


def draw(by_rows: dict[int, dict[str, Any]], path: Path) -> None:
    """Memory and processor time over rows, both on logarithmic axes, with the lines drawn on."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for step in STEPS:
        for axis, name, unit in ((axes[0], "bytes", 2**20), (axes[1], "processor", 1)):
            values = [figures["steps"][step][name] / unit for figures in by_rows.values()]
            (drawn,) = axis.plot(list(by_rows), values, marker="o", label=step)
            last = max(by_rows)
            ends = [line(by_rows, step, name, at) / unit for at in (last, DRAWN_TO)]
            axis.plot([last, DRAWN_TO], ends, linestyle=":", color=drawn.get_color())
    for axis, title in zip(axes, ("most memory in use beside the libraries, MB", "processor time, s"), strict=True):
        axis.set(xscale="log", xlabel="noisy rows of 300 characters", title=title)
        axis.grid(alpha=0.3)
    axes[1].set_yscale("log")
    axes[0].axhline(3000, color="grey", linewidth=1)
    axes[0].legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
