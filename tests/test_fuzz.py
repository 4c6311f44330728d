"""Spoilt bundles, records, jobs, predictions and results: a result or one line, no hang, and no file changed.

benchmarks/fuzz.py tries many more; a target and a seed that it prints are an example to add here.
"""

import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from fuzzing import TARGETS, attempt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = {"bundle": 25, "records": 80, "job": 40, "audit": 30, "results": 10}


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_spoilt_is_read_or_refused_in_one_line(target):
    @settings(
        max_examples=EXAMPLES[target],
        deadline=timedelta(seconds=30),
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(seed=st.integers(0, 2**32))
    def tried(seed):
        with tempfile.TemporaryDirectory() as folder:
            assert attempt(target, Path(folder), seed) in ("accepted", "refused")

    tried()
