"""`make gpu`: no process outlives its step, what is missing is said at once, and nothing that ended badly passes."""

import sys
import time
from importlib import import_module
from pathlib import Path

import psutil
import pytest
from packaging.requirements import Requirement


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a script of `benchmarks/`."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "benchmarks")
    return import_module


def has_ended(process):
    """Whether a killed process ends within ten seconds; a zombie has ended."""
    for _ in range(100):
        if not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(("then", "ended"), [("wait", "not in time"), ("exit 3", "with 3"), ("exit 0", "well")])
def test_what_a_step_started_ends_with_it(benchmark, then, ended):
    step = benchmark("gpu").run(["bash", "-c", f"sleep 300 & echo $!; {then}"], 2, "cpu")
    assert step["ended"] == ended
    assert has_ended(int(step["lines"][0]))


def test_a_last_line_of_json_is_figures(benchmark):
    step = benchmark("gpu").run([sys.executable, "-c", "print('noise'); print('{\"a\": 1}')"], 20, "cpu")
    assert step["figures"] == {"a": 1}


def test_what_is_missing_is_said_at_once(benchmark, tmp_path):
    needs = benchmark("gpu_needs")
    found = needs.problems({"encoder": tmp_path}, {"test": tmp_path / "test.jsonl"}, "cpu")
    assert [line.split(":")[0] for line in found] == ["--encoder", "--test"]
    wanted = ["no-such-package", "torch>=999", "numpy", "jsonargparse[signatures]"]
    assert list(needs.unmet(map(Requirement, wanted), set())) == wanted[:2]
    assert "'torch>=999'" in needs.remedy(wanted[:2])


def test_late_failed_and_unmeasured_is_not_well_but_left_out_is(benchmark):
    steps = {"tests": "well", "phases": "with 1", "fit": "not in time", "static": "left out: for a GPU"}
    found = {"steps": {name: {"ended": ended} for name, ended in steps.items()}, "arms": {"some arm": "no memory"}}
    assert benchmark("gpu").not_well(found) == ["phases: with 1", "fit: not in time", "some arm: no memory"]
