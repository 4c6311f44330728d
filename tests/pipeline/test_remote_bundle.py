"""Copies of bundles in object storage: which ones go, which ones stay, and a cache that cannot be written."""

import errno
import os
import time

import pytest
from filelock import FileLock
from killing import KilledError
from object_store import memory_store

from unskew.common import UserError
from unskew.pipeline import remote_bundle
from unskew.pipeline.remote_bundle import local_copy

MONTH = 31 * 24 * 3600


@pytest.fixture(autouse=True)
def bundles(tmp_path, monkeypatch):
    """Three bundles, each with its name in it, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with memory_store() as store:
        for name in ("old", "used", "new"):
            store.pipe_file(f"/bundles/{name}/unskew.json", name.encode())
        yield


def copy(name):
    return local_copy(f"memory://bundles/{name}", "unskew.json")


def unused(name):
    """A copy that was last asked for a month ago."""
    place = copy(name)
    os.utime(place, (0, time.time() - MONTH))
    return place


def test_copies_of_a_bundle_that_nobody_has_used_for_a_month_go():
    old, used = unused("old"), unused("used")
    copy("used")
    copy("new")
    assert not old.exists()
    assert (used / "unskew.json").read_text("utf-8") == "used"


def test_a_copy_that_is_asked_for_while_another_process_is_about_to_remove_it_stays(monkeypatch):
    old = unused("old")

    def asked_before(lock):
        if str(lock) == f"{old}.lock":
            os.utime(old)
        return FileLock(lock)

    monkeypatch.setattr(remote_bundle, "FileLock", asked_before)
    copy("new")
    assert old.exists()


def test_a_kill_during_a_removal_leaves_no_part_of_a_copy_in_use(monkeypatch):
    old = unused("old")

    def killed(folder, **options):
        if folder.exists():
            (folder / "unskew.json").unlink()
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(remote_bundle.shutil, "rmtree", killed)
        with pytest.raises(KilledError):
            copy("new")
    assert (copy("old") / "unskew.json").read_text("utf-8") == "old"
    assert [path.name for path in old.parent.iterdir() if path.suffix != ".lock"] == [old.name]


def test_a_cache_that_cannot_be_written_is_refused(monkeypatch):
    def refuse(self, *given, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(UserError, match="cannot write to .* Permission denied; set XDG_CACHE_HOME"):
        copy("new")
