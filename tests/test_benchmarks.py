"""What a benchmark's own files rely on: that runs with other options are other runs."""

import importlib.util
import json
from argparse import Namespace
from pathlib import Path

import pytest

from unskew.common import write_jsonl

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
OPTIONS = {
    "rows": 1000, "held": 40, "epochs": 2, "steps": None, "rate": 5e-4, "tokens": 1000, "texts": 105, "wrong": 3,
    "guidance": [1.0, 2.0], "bf16": False, "prompt": "auto", "max_tokens": 96,
}  # fmt: skip
FIGURES = {"rows": 9, "right": 0.9, "wrong": 0.5, "gap": 0.1, "exact": 0.1, "rougeL": 0.6, "guidance": 1.0}


@pytest.fixture
def obedience(tmp_path, make_rows, monkeypatch):
    """`benchmarks/obedience.py` with its fits left out: `run(**options)`, which returns the table's rows."""
    spec = importlib.util.spec_from_file_location("obedience_benchmark", BENCHMARKS / "obedience.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "fit_decoder", lambda *_: Namespace(unguided=False))
    monkeypatch.setattr(script, "measure", lambda *_: [FIGURES])
    for seed, name in enumerate(("train", "test")):
        write_jsonl(tmp_path / f"{name}.jsonl", make_rows({"harvest": 80, "football": 80}, seed, name))

    def run(**changes):
        given = {**OPTIONS, "data": tmp_path, "output": tmp_path / "out", "decoder": "small", "seeds": "0", "arms": "4"}
        script.run(Namespace(**{**given, **changes}))
        return [line.strip("| ").split(" | ") for line in script.table(tmp_path / "out" / "runs").splitlines()[2:]]

    return run


@pytest.mark.parametrize("name", OPTIONS)
def test_a_changed_option_is_another_run(obedience, name):
    assert len(obedience()) == len(obedience()) == 1
    others = {"guidance": [3.0], "prompt": "plain", "rate": 1e-3, "bf16": True}
    assert len(obedience(**{name: others.get(name, 7)})) == 2


def test_rows_of_another_file_are_another_run(obedience, make_rows, tmp_path):
    obedience()
    write_jsonl(tmp_path / "test.jsonl", make_rows({"harvest": 80, "football": 80}, 9, "test"))
    assert len(obedience()) == 2


def test_seeds_are_averaged_and_runs_of_other_rows_or_steps_are_not(obedience, tmp_path):
    obedience(seeds="0,1")
    obedience(rows=50)
    found = obedience(steps=60)
    assert [row[1:7] for row in found] == [
        ["50", "2", "all", "topic dropout", "1", "1"],
        ["1000", "2", "60", "topic dropout", "1", "1"],
        ["1000", "2", "all", "topic dropout", "1", "2"],
    ]
    old = tmp_path / "out" / "runs" / "small~1000~2~None~0~4.json"
    old.write_text(json.dumps([{**FIGURES, "arm": "topic dropout", "base": "small", "epochs": 2, "seconds": 1.0}]))
    assert obedience(steps=60) == found
