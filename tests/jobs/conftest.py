"""The fake pipeline, for tests of the job alone."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def fake():
    """The module of the fake pipeline, which is a script as well."""
    path = Path(__file__).parent / "fake_job.py"
    spec = importlib.util.spec_from_file_location("fake_job", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
