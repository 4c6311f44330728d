"""The fake pipeline, for tests of the job alone, and a job of forty rows, three of them bad."""

import importlib.util
import os
from pathlib import Path

import pytest

from unskew.common import write_jsonl
from unskew.jobs import JobSettings, run


@pytest.fixture(scope="session")
def fake():
    """The module of the fake pipeline, which is a script as well."""
    path = Path(__file__).parent / "fake_job.py"
    spec = importlib.util.spec_from_file_location("fake_job", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def rows(tmp_path):
    made = [{"id": str(i), "text": f"row {i}", "team": f"t{i % 3}", "more": {"n": i}} for i in range(40)]
    made[5]["text"], made[17]["text"] = "", "row 17 POISON"
    made[25]["text"] = "row 25 POISON"
    write_jsonl(tmp_path / "in.jsonl", made)
    return made


@pytest.fixture
def job(fake, tmp_path):
    def call(output="out.jsonl", system=None, **options):
        settings = JobSettings(
            str(tmp_path / "in.jsonl"),
            os.path.join(tmp_path, output),
            **{"progress": "none", "shard_rows": 10} | options,
        )
        return run(system or fake.fake_system(), settings)

    return call
