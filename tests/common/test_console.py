"""Work does not depend on who reads what it prints."""

import subprocess
import sys
from io import StringIO

import pytest

from unskew.common import PipeSafeStream, show_progress


class Gone(StringIO):
    """A stream whose reader went away after so many writes."""

    def __init__(self, left=0):
        super().__init__()
        self.left = left

    def write(self, text):
        if self.left <= 0:
            raise BrokenPipeError
        self.left -= 1
        return super().write(text)

    def isatty(self):
        return True


def test_what_nobody_reads_is_dropped():
    inner = Gone(1)
    stream = PipeSafeStream(inner)
    assert [stream.write(text) for text in ("one", "two", "three")] == [3, 3, 5]
    stream.flush()
    assert (inner.getvalue(), stream.isatty()) == ("one", True)


@pytest.mark.parametrize("kind", ["auto", "json"])
@pytest.mark.parametrize("left", [0, 1])
def test_progress_that_nobody_reads_does_not_end_the_work(monkeypatch, kind, left):
    monkeypatch.setattr(sys, "stderr", Gone(left))
    with show_progress(kind, "work", 3) as tell:
        tell(1, 0)
        tell(2, 1)


@pytest.mark.parametrize(("arguments", "code"), [(["fit", "--help"], 0), (["nonsense"], 2)])
def test_a_command_whose_output_nobody_reads_ends_with_its_own_code(arguments, code):
    script = f"import sys\nfrom unskew.cli.main import main\nsys.stdin.read()\nmain({arguments!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    process.stderr.close()
    process.stdin.close()
    assert process.wait() == code
