"""Where a command may write, and where it refuses to."""

import shutil
from collections import namedtuple

import pytest

from unskew.common import UserError, check_disk, check_system, paths

Usage = namedtuple("Usage", "total used free")


def test_free_space_is_that_of_the_disk_under_a_folder_that_does_not_exist_yet(tmp_path):
    assert check_disk(tmp_path / "a" / "b") == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)


def test_a_full_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(paths.shutil, "disk_usage", lambda folder: Usage(10**9, 10**9, 10**6))
    with pytest.raises(UserError, match="less than 100 MB are free"):
        check_disk(tmp_path)


def test_a_system_that_is_not_posix_is_refused_in_one_line(monkeypatch):
    check_system()
    monkeypatch.setattr(paths.os, "name", "nt")
    with pytest.raises(UserError, match="Linux and macOS"):
        check_system()
