import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from unskew.common import UserError, file_fingerprint, fingerprint


@dataclass
class Inner:
    rate: float


@dataclass
class Outer:
    name: str
    inner: Inner


def test_equal_things_have_equal_prints_and_others_do_not() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    prints = {
        fingerprint(),
        fingerprint("ab"),
        fingerprint("a", "b"),
        fingerprint(["a", "b"]),
        fingerprint(1),
        fingerprint("1"),
        fingerprint(None),
        fingerprint({"a": 1, "b": 3}),
        fingerprint(Outer("x", Inner(0.1))),
        fingerprint(Outer("x", Inner(0.2))),
    }
    assert len(prints) == 10


def test_stays_the_same_in_another_process() -> None:
    script = "from unskew.common import fingerprint; print(fingerprint({'é': [1, 2.5, None]}, 'x'))"
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert told.stdout.strip() == fingerprint({"é": [1, 2.5, None]}, "x")


def test_things_without_a_stable_form_are_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        fingerprint(object())


def test_files_count_by_contents_and_order(tmp_path: Path) -> None:
    one, two, copy = tmp_path / "1", tmp_path / "2", tmp_path / "copy"
    one.write_bytes(b"ab")
    two.write_bytes(b"c")
    copy.write_bytes(b"ab")
    assert file_fingerprint(one) == file_fingerprint([str(copy)])
    assert file_fingerprint([one, two]) != file_fingerprint([two, one])
    before = file_fingerprint([one, two])
    one.write_bytes(b"a")
    two.write_bytes(b"bc")
    assert file_fingerprint([one, two]) != before
    with pytest.raises(UserError, match="gone"):
        file_fingerprint(tmp_path / "gone")
