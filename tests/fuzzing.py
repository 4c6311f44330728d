"""Inputs gone wrong, and the readers that must answer each with a result or one line; for tests and benchmarks/fuzz.py.

A target is called with a folder and a random generator: it spoils one file there, and returns what reads it. That may
raise a `UserError` of one line, and must not change a file.
"""

import json
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from unskew.ablation.report.html import render_report
from unskew.ablation.report.tables import as_csv, as_markdown
from unskew.ablation.stored import checked_results
from unskew.common import UserError
from unskew.corpus import stream
from unskew.evaluation import audit
from unskew.jobs import JobSettings
from unskew.jobs.folder import finished_shards, read_manifest
from unskew.jobs.paths import JobPaths
from unskew.jobs.resume import how_to_start
from unskew.pipeline import HybridPipeline

FIXTURES = Path(__file__).parent / "fixtures" / "format-1"
ODD: list[Any] = [
    None, True, 0, -1, 1, 2**31, 2**63, 10**400, 1e308, -0.5, float("nan"), float("inf"), "", " ", "a\0b", "\ud800",
    "../../etc/passwd", "/dev/zero", "~", "x" * 5000, "\x1b[2J", "(a+)+$", [], {}, [[]], [None], {"a": None}, "base",
    "\u202ename", "=1+1", "<script>", "LORA", [0.5, 0.5], [1, 2, 3], {"names": [], "counts": []},
]  # fmt: skip
ROWS = [
    {"id": str(n), "text": f"wheat {n}, \"the\" grain", "topic": ["a", "b"][n % 2], "topics": {"a": 0.7, "b": 0.3}}
    for n in range(6)
]  # fmt: skip


def spoilt(draw: random.Random, content: bytes) -> bytes:
    """The bytes with one thing wrong: a value of a JSON document, or bytes that are cut, changed or added."""
    if draw.random() < 0.7:
        try:
            value = json.loads(content)
            return json.dumps(_spoilt_value(draw, value)).encode()
        except (ValueError, RecursionError):
            pass
    place = draw.randrange(len(content) + 1)
    match draw.randrange(6):
        case 0:
            return content[:place]
        case 1:
            return content[:place] + bytes(draw.randrange(256) for _ in range(draw.randrange(1, 9))) + content[place:]
        case 2:
            return content[:place] + b"[" * draw.choice([3, 2000, 100_000]) + content[place:]
        case 3:
            changed = bytearray(content)
            for _ in range(draw.randrange(1, 6)):
                if changed:
                    changed[draw.randrange(len(changed))] = draw.randrange(256)
            return bytes(changed)
        case 4:
            return json.dumps(draw.choice(ODD)).encode()
        case _:
            return content[place:] + content[:place]


def _spoilt_value(draw: random.Random, value: Any, depth: int = 0) -> Any:
    if isinstance(value, dict | list) and value and draw.random() < (0.97 if depth < 2 else 0.8):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = draw.choice(keys)
        changed: Any = dict(value) if isinstance(value, dict) else list(value)
        match draw.randrange(8):
            case 0:
                del changed[key]
            case 1 if isinstance(changed, dict):
                changed[str(draw.choice(ODD))] = draw.choice(ODD)
            case 1:
                changed.append(changed[key])
            case _:
                changed[key] = _spoilt_value(draw, value[key], depth + 1)
        return changed
    return draw.choice(ODD)


def fuzz_bundle(folder: Path, draw: random.Random) -> Callable[[], None]:
    """Spoil one file of a bundle, or add one, and load it."""
    place = folder / "bundle"
    shutil.copytree(FIXTURES / "bundle", place)
    names = sorted(path for path in place.rglob("*") if path.is_file() and path.suffix in (".json", ".safetensors"))
    small = [path for path in names if path.name not in ("tokenizer.json",)]
    path = draw.choice(small if draw.random() < 0.9 else names)
    path.write_bytes(spoilt(draw, path.read_bytes()))
    if draw.random() < 0.5:  # as one who can write the bundle would: the manifest agrees
        _agree(place)
    merge = draw.random() < 0.5

    def read() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            list(HybridPipeline.from_pretrained(place, device="cpu", merge=merge)(["ship cargo crane"]))

    return read


def _agree(place: Path) -> None:
    try:
        manifest = json.loads((place / "unskew.json").read_bytes())
        manifest["files"] = {
            path.relative_to(place).as_posix(): path.stat().st_size
            for path in place.rglob("*")
            if path.is_file() and path.name != "unskew.json"
        }
        (place / "unskew.json").write_text(json.dumps(manifest))
    except (ValueError, TypeError, RecursionError):
        pass


def fuzz_records(folder: Path, draw: random.Random) -> Callable[[], None]:
    """Spoil a file of records and read it."""
    path = folder / draw.choice(["r.jsonl", "r.json", "a.json", "r.csv", "r.parquet"])
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{**row, "topics": None} for row in ROWS]), path)
    elif path.suffix == ".csv":
        path.write_text("id,text,topic\n" + "".join(f'{row["id"]},"wheat, {row["id"]}",a\n' for row in ROWS))
    elif path.name == "a.json":
        path.write_text(json.dumps(ROWS))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    path.write_bytes(spoilt(draw, path.read_bytes()))
    return lambda: None if all(stream(path, needs=("text", "topic"))) else None


def fuzz_job(folder: Path, draw: random.Random) -> Callable[[], None]:
    """Spoil a half-done job's manifest or records, and decide what follows."""
    shutil.copytree(FIXTURES / "half.jsonl.job", folder / "half.jsonl.job")
    files = [path for path in sorted((folder / "half.jsonl.job").rglob("*.json")) if path.is_file()]
    path = draw.choice(files)
    plan = json.loads((folder / "half.jsonl.job" / "job.json").read_text())["plan"]
    path.write_bytes(spoilt(draw, path.read_bytes()))
    place = JobPaths.of(str(folder / "half.jsonl"))
    job = JobSettings("texts.jsonl", str(place.output), overwrite=draw.random() < 0.5)

    def read() -> None:
        how_to_start(place, job, plan, read_manifest(place))
        finished_shards(place, plan)

    return read


def fuzz_audit(folder: Path, draw: random.Random) -> Callable[[], None]:
    """Spoil predictions, labels or training counts, and measure."""
    for name in ("predictions.jsonl", "labels.jsonl"):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "train.json").write_text('{"a": 60, "b": 3}')
    path = folder / draw.choice(["predictions.jsonl", "labels.jsonl", "train.json"])
    lines = path.read_bytes().splitlines(keepends=True)
    place = draw.randrange(len(lines))
    lines[place] = spoilt(draw, lines[place]) + b"\n"
    path.write_bytes(b"".join(lines))
    given = [str(folder / name) for name in ("predictions.jsonl", "labels.jsonl", "train.json")]
    return lambda: audit(*given) and None


RESULTS = (Path(__file__).parent.parent / "tests/fixtures/ablation_results.json").read_bytes()


def fuzz_results(folder: Path, draw: random.Random) -> Callable[[], None]:
    """Spoil results.json and make the page and the tables."""
    content, page = spoilt(draw, RESULTS), draw.random() < 0.02  # with all its pictures a page takes seconds

    def read() -> None:
        try:
            results = json.loads(content)
        except (ValueError, RecursionError):
            return
        results = checked_results(results)
        as_csv(results)
        as_markdown(results)
        if page:
            render_report(results)

    return read


class DataLostError(Exception):
    """Reading changed a file."""


TARGETS: dict[str, Callable[[Path, random.Random], Callable[[], None]]] = {
    "bundle": fuzz_bundle,
    "records": fuzz_records,
    "job": fuzz_job,
    "audit": fuzz_audit,
    "results": fuzz_results,
}


def attempt(target: str, folder: Path, seed: int) -> str:
    """Spoil and read once in an empty `folder`: "accepted" or "refused"; raises what is neither."""
    read = TARGETS[target](folder, random.Random(f"{target}:{seed}"))
    before = _contents(folder)
    try:
        read()
    except UserError as error:
        said = str(error)
        assert said.strip(), "an empty message"
        assert len(said) < 1100, f"a message of {len(said)} characters"
        assert len(said.strip().splitlines()) == 1, f"a message of several lines: {said!r}"
        outcome = "refused"
    else:
        outcome = "accepted"
    if _contents(folder) != before:
        raise DataLostError(f"{target} {seed}")
    return outcome


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
