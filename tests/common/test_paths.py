"""Where a command may write, and where it refuses to."""

import shutil
from collections import namedtuple

import pytest

from unskew.common import UserError, check_disk, check_system, model_folder, output_file, output_folder, paths

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


def test_models_are_not_written_where_no_tokenizer_can_be(tmp_path):
    assert model_folder(tmp_path / "Straße") == tmp_path / "Straße"
    with pytest.raises(UserError, match=r"Stra\\udcdfe' is not UTF-8; rename"):
        model_folder(tmp_path / "Stra\udcdfe")


@pytest.mark.parametrize("usable", [output_file, output_folder])
@pytest.mark.parametrize(
    "name",
    ["", "a\0b", "x" * 300, "x" * 200, "loop/x", "file/x", "~nobody-of-this-name/x", ".", "..", "/", "/dev/null"]
    + ["folder/..", "folder/."],
)
def test_what_no_output_can_be_is_refused(usable, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    if (usable, name) != (output_folder, "folder/."):
        with pytest.raises(UserError):
            usable(name)


def test_an_output_is_where_the_user_means_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "file").write_text("")
    assert output_file("file") == tmp_path / "file"
    assert output_file("~/a") == tmp_path / "home" / "a"
    assert output_folder("~/a/") == tmp_path / "home" / "a"
    with pytest.raises(UserError, match="is a file"):
        output_folder("file")
    with pytest.raises(UserError, match="is a folder"):
        output_file("folder/")


def test_a_disk_with_less_than_is_needed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(paths.shutil, "disk_usage", lambda folder: Usage(10**10, 0, 10**9))
    assert check_disk(tmp_path, 10**9) == 10**9
    with pytest.raises(UserError, match=r"1\.0 GB are free, and 3\.0 GB are needed, on the disk"):
        check_disk(tmp_path, 3 * 10**9)


@pytest.mark.parametrize("usable", [output_file, output_folder])
def test_no_output_goes_into_a_bundle(usable, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "unskew.json").write_text("{}")
    assert usable(tmp_path / "mine-too") == tmp_path / "mine-too"
    for inside in ("mine/out", "mine/new/out"):
        with pytest.raises(UserError, match="is inside the bundle .*mine, which a new fit replaces"):
            usable(tmp_path / inside)
    assert output_folder(tmp_path / "mine") == tmp_path / "mine"  # replaced as a whole
