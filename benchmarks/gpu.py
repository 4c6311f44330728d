"""Runs all GPU measurements in at most nine minutes: `make gpu` (rehearsal: `make gpu DEVICE=cpu ROWS=8`).

    python benchmarks/gpu.py --encoder FOLDER --decoder FOLDER --train FILE --test FILE --device cuda --output DIR

Needs torch, transformers, peft, lightning and this package; uses vLLM if it is installed. Each step (see
`gpu_steps.py`) runs in its own process, within its own limit and the remaining time. Its results are in OUTPUT/gpu.json
before the next step starts, so an interrupted call keeps them. OUTPUT/gpu.md is the table to commit.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from unskew.common import write_text

HERE = Path(__file__).parent
ROOT = HERE.parent
LIBRARIES = ("torch", "transformers", "peft", "lightning", "vllm", "triton")
# Time limits in seconds, most important steps first: the last ones are left out if time runs out.
LONGEST = {
    "tests": 90,
    "agreement": 90,
    "throughput": 180,
    "phases": 60,
    "static": 60,
    "overlap": 40,
    "fit": 120,
    "ablation": 120,
}
ARMS = [
    "transformers pipelines",
    "model.generate",
    "unskew float32",
    "unskew bfloat16",
    "generate_batch",
    "unskew, vLLM",
]
ABLATION_ARMS = "decoder_plain,decoder_recommended,encoder_balanced,hybrid_full"


def facts(device: str) -> dict[str, Any]:
    """The machine and its libraries."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    card = torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor() or platform.machine()
    return {"date": time.strftime("%Y-%m-%d"), "device": device, "card": card, "versions": versions}


def commands(given: argparse.Namespace) -> dict[str, list[str]]:
    """The command of each step."""
    python, out = sys.executable, given.output
    bases = ["--encoder", given.encoder, "--decoder", given.decoder, "--device", given.device]
    sizes = ["--rows", str(given.rows), "--new_tokens", str(given.new_tokens)]
    step = [python, str(HERE / "gpu_steps.py")]
    own = [*bases, "--data", given.test, *sizes, "--output", str(out / "bundle")]
    unskew = [python, "-c", "from unskew.cli.main import main; main()"]
    fit = [*unskew, "fit", "--data.train", given.train, "--encoder.base", given.encoder, "--output", str(out / "fit")]
    return {
        "tests": [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/pipeline/test_on_device.py"],
        "agreement": [*step, "agreement", *own],
        "throughput": [
            *[python, str(HERE / "throughput.py"), *bases, "--data", given.test, *sizes, "--timeout", "100"],
            *["--repeats", "3", "--arms", json.dumps(ARMS), "--output", str(out / "throughput.json")],
        ],
        "phases": [*step, "phases", *own],
        "static": [*step, "static", *own],
        "overlap": [*step, "overlap", *own],
        "fit": [*fit, "--decoder", "null", "--overwrite"],
        "ablation": [
            *[*unskew, "ablate", "--config", "configs/ablation_reuters.yaml", "--arms", ABLATION_ARMS, "--seeds", "0"],
            *["--data.train", given.train, "--test", given.test, "--encoder.base", given.encoder],
            *["--decoder.base", given.decoder, "--budget", str(given.budget), "--test_rows", str(given.rows)],
            *["--outputs", str(min(64, given.rows)), "--output", str(out / "ablation")],
        ],
    }


def run(command: list[str], seconds: float, device: str) -> dict[str, Any]:
    """The state of the step at its end, its seconds, and its last lines; a last line of JSON is parsed."""
    environment = {**os.environ, "UNSKEW_TEST_DEVICE": device, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    begun = time.monotonic()
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=seconds)
        code, text = done.returncode, done.stdout + ("" if done.returncode == 0 else done.stderr)
    except subprocess.TimeoutExpired as late:
        code, text = None, (late.stdout or b"").decode(errors="replace")
    lines = text.strip().splitlines()[-40:]
    found = {"code": code, "seconds": round(time.monotonic() - begun, 1), "lines": lines}
    try:
        return {**found, "figures": json.loads(lines[-1])} if lines and lines[-1].startswith("{") else found
    except json.JSONDecodeError:
        return found


def table(found: dict[str, Any]) -> str:
    """The results as a Markdown page."""
    libraries = ", ".join(f"{name} {number}" for name, number in found["facts"]["versions"].items() if number)
    lines = [f"# {found['facts']['card']}, {found['facts']['date']}", "", f"{libraries}. Made by `make gpu`.", ""]
    lines += ["| step | ended | seconds | figures |", "|---|---|---|---|"]
    for name, step in found["steps"].items():
        figures = ", ".join(f"{key} {value}" for key, value in step.get("figures", {}).items())
        ended = {0: "well", None: "not in time"}.get(step["code"], f"with {step['code']}")
        lines.append(f"| {name} | {ended} | {step['seconds']} | {figures} |")
    shown = [line for line in found["steps"].get("throughput", {}).get("lines", []) if line.startswith("|")]
    return "\n".join([*lines, "", *shown, ""])


def main() -> None:
    """Run the steps in order, within the minutes given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, what in (("encoder", "base of stage 1"), ("decoder", "base of stage 2")):
        parser.add_argument(f"--{name}", required=True, help=what)
    parser.add_argument("--train", required=True, help="rows with text, topic and target")
    parser.add_argument("--test", required=True, help="test rows with text, topic and target")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--budget", type=float, default=0.1, help="share of the training rows in the ablation")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--steps", default=",".join(LONGEST), help="which, as a,b,c")
    parser.add_argument("--output", type=Path, default=Path("runs/gpu"))
    given = parser.parse_args()
    given.output = given.output.resolve()
    given.output.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + 60 * given.minutes
    found: dict[str, Any] = {"facts": facts(given.device), "rows": given.rows, "steps": {}}
    for name, command in commands(given).items():
        left = ends - time.monotonic()
        if name not in given.steps.split(",") or left < 5:
            continue
        found["steps"][name] = run(command, min(left, LONGEST[name]), given.device)
        write_text(given.output / "gpu.json", json.dumps(found, indent=1) + "\n")
        write_text(given.output / "gpu.md", table(found))
        print(name, found["steps"][name]["code"], found["steps"][name]["seconds"], flush=True)
    failed = [name for name, step in found["steps"].items() if step["code"] not in (0, None)]
    sys.exit(f"failed: {', '.join(failed)}; see {given.output / 'gpu.json'}" if failed else 0)


if __name__ == "__main__":
    main()
