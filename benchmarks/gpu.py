"""Runs all GPU measurements in at most nine minutes: `make gpu` (rehearsal: `make gpu DEVICE=cpu ROWS=8`).

    python benchmarks/gpu.py --encoder FOLDER --decoder FOLDER --train FILE --test FILE --device cuda --output DIR

What is missing (packages, models, rows, a GPU) is said first, all at once, see `gpu_needs.py`. vLLM is used if it is
installed. Each step (see `gpu_steps.py`) has its share of the time that is left, and is killed at its end with all that
it started. OUTPUT/gpu.json and OUTPUT/gpu.md, the page to commit, are written after each step, OUTPUT/throughput.json
after each arm of throughput, so an interrupted call keeps them. The exit status is 0 if all that was asked for ended
well; what only makes sense on a GPU is not asked of a CPU.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from gpu_needs import ROOT, problems

HERE = Path(__file__).parent
LIBRARIES = ("torch", "transformers", "peft", "lightning", "vllm", "triton")
# Shares of the time, most important steps first. What a step does not use, those after it share.
SHARES = {
    "tests": 50,
    "agreement": 40,
    "throughput": 240,
    "phases": 30,
    "static": 50,
    "overlap": 30,
    "fit": 60,
    "ablation": 40,
}
GPU_STEPS = ("static",)
ARMS = ("transformers pipelines", "unskew bfloat16", "unskew float32", "model.generate")
VLLM_ARM = "unskew, vLLM bfloat16"
GPU_ARMS = ("generate_batch", VLLM_ARM)
ABLATION_ARMS = "decoder_plain,decoder_recommended,encoder_balanced,hybrid_full"
TRAINED = 16  # training rows at most, times the rows that are measured
MOST_THREADS = 8

WELL, LATE, NOT_BEGUN, LEFT_OUT = "well", "not in time", "not begun", "left out"

Step = dict[str, Any]


def facts(device: str) -> dict[str, Any]:
    """The machine and its libraries."""
    import torch

    versions = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    card = torch.cuda.get_device_name() if on_gpu(device) else platform.processor() or platform.machine()
    return {"date": time.strftime("%Y-%m-%d"), "device": device, "card": card, "versions": versions}


def cut(given: argparse.Namespace, work: Path) -> None:
    """Write the rows to train on, and the test rows whose topics are among theirs."""
    from unskew.common import write_jsonl
    from unskew.corpus import Record, stream

    train, test = ((row for row in stream(str(file)) if isinstance(row, Record)) for file in (given.train, given.test))
    known = list(islice(train, TRAINED * given.rows))
    topics = {row.topic for row in known}
    write_jsonl(work / "train.jsonl", (row.to_row() for row in known))
    write_jsonl(work / "test.jsonl", (row.to_row() for row in test if row.topic in topics))


def threads_on(device: str) -> int:
    """Threads of a process: a few beside a GPU, what the environment says on a CPU."""
    return min(MOST_THREADS, os.cpu_count() or 1) if on_gpu(device) else int(os.environ.get("OMP_NUM_THREADS", "1"))


def on_gpu(device: str) -> bool:
    """Whether this is a GPU."""
    return device.startswith("cuda")


def left_out(device: str) -> dict[str, str]:
    """Steps and arms that this machine is not asked for."""
    if not on_gpu(device):
        return dict.fromkeys((*GPU_STEPS, *GPU_ARMS), f"{LEFT_OUT}: for a GPU")
    return {} if find_spec("vllm") else {VLLM_ARM: f"{LEFT_OUT}: vLLM is not installed"}


def commands(given: argparse.Namespace, arms: list[str], work: Path) -> dict[str, list[str]]:
    """The command of each step; what they make that is not a result goes to `work`."""
    python, test = sys.executable, str(given.test)
    bases = ["--encoder", str(given.encoder), "--decoder", str(given.decoder), "--device", given.device]
    sizes = ["--rows", str(given.rows), "--new_tokens", str(given.new_tokens)]
    own = [*bases, "--data", test, *sizes, "--output", str(work / "bundle")]
    unskew = [python, "-c", "from unskew.cli.main import main; main()"]
    train = ["--data.train", str(work / "train.jsonl"), "--encoder.base", str(given.encoder)]
    return {
        "tests": [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/pipeline/test_on_device.py"],
        **{name: [python, str(HERE / "gpu_steps.py"), name, *own] for name in ("agreement", "phases", "static")},
        "throughput": [
            *[python, str(HERE / "throughput.py"), *bases, "--data", test, *sizes, "--timeout", "100"],
            *["--threads", str(threads_on(given.device)), "--repeats", "2", "--arms", json.dumps(arms)],
            *["--output", str(given.output / "throughput.json")],
        ],
        "overlap": [python, str(HERE / "gpu_steps.py"), "overlap", *own],
        "fit": [*unskew, "fit", *train, "--decoder", "null", "--output", str(work / "fit")],
        "ablation": [
            *[*unskew, "ablate", "--config", "configs/ablation_reuters.yaml", "--arms", ABLATION_ARMS, "--seeds", "0"],
            *[*train, "--test", str(work / "test.jsonl"), "--decoder.base", str(given.decoder)],
            *["--budget", str(given.budget), "--test_rows", str(given.rows), "--outputs", str(min(64, given.rows))],
            *["--output", str(work / "ablation")],
        ],
    }


def run(command: list[str], seconds: float, device: str) -> Step:
    """How a step ended, its seconds, its last lines; a last line of JSON is its figures."""
    environment = {**os.environ, "UNSKEW_TEST_DEVICE": device, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    environment["OMP_NUM_THREADS"] = str(threads_on(device))
    begun = time.monotonic()
    # Not pipes: whatever a step leaves behind would keep them open.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=errors, env=environment, start_new_session=True
        )
        try:
            code = process.wait(seconds)
            ended = f"with {code}" if code else WELL
        except subprocess.TimeoutExpired:
            ended = LATE
        finally:
            end_group(process)
        lines = [*last_lines(out), *([] if ended == WELL else last_lines(errors))]
    found: Step = {"ended": ended, "seconds": round(time.monotonic() - begun, 1), "lines": lines}
    with suppress(json.JSONDecodeError):
        if lines and lines[-1].startswith("{"):
            found["figures"] = json.loads(lines[-1])
    return found


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all that it started, also if it has ended itself."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_lines(file: Any) -> list[str]:
    """The end of what was written."""
    file.seek(0)
    return file.read().decode(errors="replace").strip().splitlines()[-40:]


def arms_of(output: Path, asked: Iterable[str]) -> dict[str, str]:
    """How each arm of throughput ended."""
    measured = throughput(output).get("arms", {})
    return {arm: measured[arm].get("error", WELL) if arm in measured else NOT_BEGUN for arm in asked}


def throughput(output: Path) -> dict[str, Any]:
    """What there is of throughput."""
    file = output / "throughput.json"
    return json.loads(file.read_text("utf-8")) if file.exists() else {}


def page(found: dict[str, Any], output: Path) -> str:
    """The results as Markdown."""
    libraries = ", ".join(f"{name} {number}" for name, number in found["facts"]["versions"].items())
    lines = [f"# {found['facts']['card']}, {found['facts']['date']}", ""]
    lines += [f"{libraries}. Made by `make gpu`, {found['rows']} rows.", ""]
    lines += ["| step | ended | seconds | figures |", "|---|---|---|---|"]
    for name, step in found["steps"].items():
        figures = ", ".join(f"{key} {value}" for key, value in step.get("figures", {}).items())
        lines.append(f"| {name} | {step['ended']} | {step.get('seconds', '')} | {figures} |")
    lines += [f"| {arm} | {how} | | |" for arm, how in found["arms"].items() if how != WELL]
    return "\n".join([*lines, "", throughput(output).get("table", ""), ""])


def not_well(found: dict[str, Any]) -> list[str]:
    """Steps and arms that were asked for and did not end well."""
    states = {name: step["ended"] for name, step in found["steps"].items()} | found["arms"]
    return [f"{name}: {how}" for name, how in states.items() if how != WELL and not how.startswith(LEFT_OUT)]


def read_arguments() -> argparse.Namespace:
    """The options, with absolute paths, since steps run in the repository's root."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, what in (("encoder", "base of stage 1"), ("decoder", "base of stage 2")):
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"{what}, a folder")
    parser.add_argument("--train", type=Path, required=True, help="rows with text, topic and target")
    parser.add_argument("--test", type=Path, required=True, help="test rows with text, topic and target")
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--rows", type=int, default=512, help=f"measured; at most {TRAINED} times as many are trained on"
    )
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--budget", type=float, default=0.1, help="share of the training rows in the ablation")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--steps", type=lambda names: names.split(","), default=None, help="which, as a,b,c")
    parser.add_argument("--output", type=Path, default=Path("runs/gpu"))
    given = parser.parse_args()
    for name in ("encoder", "decoder", "train", "test", "output"):
        setattr(given, name, getattr(given, name).resolve())
    if unknown := set(given.steps or ()) - set(SHARES):
        parser.error(f"--steps: {', '.join(sorted(unknown))}; there are {', '.join(SHARES)}")
    return given


def main() -> None:
    """Check what is needed, then run the steps in order, within the minutes given."""
    given = read_arguments()
    ends = time.monotonic() + 60 * given.minutes
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a step's processes end too
    models, rows = {"encoder": given.encoder, "decoder": given.decoder}, {"train": given.train, "test": given.test}
    if missing := problems(models, rows, given.device):
        sys.exit("\n".join(["make gpu cannot begin:", *missing]))
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "throughput.json").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as work:
        cut(given, Path(work))
        found = measure(given, Path(work), ends)
    if failed := not_well(found):
        sys.exit("\n".join(["not well:", *failed, f"see {given.output / 'gpu.json'}"]))


def measure(given: argparse.Namespace, work: Path, ends: float) -> dict[str, Any]:
    """The results of all steps, kept after each."""
    from unskew.common import write_text

    without = left_out(given.device)
    arms = [arm for arm in (*ARMS, *GPU_ARMS) if arm not in without]
    steps = [step for step in SHARES if (step in given.steps if given.steps else step not in without)]
    found: dict[str, Any] = {"facts": facts(given.device), "rows": given.rows}
    found["steps"] = {step: {"ended": NOT_BEGUN if step in steps else without.get(step, LEFT_OUT)} for step in SHARES}
    found["arms"] = {arm: how for arm, how in without.items() if arm not in SHARES}
    asked = commands(given, arms, work)
    for number, name in enumerate(steps):
        share = SHARES[name] / sum(SHARES[step] for step in steps[number:])
        found["steps"][name] = run(asked[name], share * (ends - time.monotonic()), given.device)
        if name == "throughput":
            found["arms"] |= arms_of(given.output, arms)
        write_text(given.output / "gpu.json", json.dumps(found, indent=1) + "\n")
        write_text(given.output / "gpu.md", page(found, given.output))
        print(name, found["steps"][name]["ended"], found["steps"][name]["seconds"], flush=True)
    return found


if __name__ == "__main__":
    main()
