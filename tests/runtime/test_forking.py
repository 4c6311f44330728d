"""A fork of a process that has used a model gets an error, not a hang."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, torch
from unskew.common import UserError
from unskew.runtime import refuse_after_fork
{before}
child = os.fork()
if child:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
{after}
try:
    refuse_after_fork()
except UserError as error:
    os._exit(7 if "spawn" in str(error) else 1)
os._exit(0)
"""


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("torch.set_num_threads(2); refuse_after_fork()", "", 7),
        ("torch.set_num_threads(2)", "", 0),  # no model was used before
        ("torch.set_num_threads(2); refuse_after_fork()", "torch.set_num_threads(1)", 0),
        ("refuse_after_fork()", "torch.set_num_threads(1); os.environ['TOKENIZERS_PARALLELISM'] = 'true'", 7),
    ],
)
def test_fork(before, after, code):
    script = SCRIPT.format(before=before, after=after)
    # The command line sets this one for its process; a test that ran it here would decide the outcome.
    environment = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    assert subprocess.run([sys.executable, "-c", script], timeout=120, env=environment).returncode == code
