import errno
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unskew.common import UserError, replacing_file, replacing_folder, restore_folder, write_jsonl, write_text
from unskew.common import atomic as writing


def entries(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    path = tmp_path / "out.txt"
    path.write_text("old")
    return path


@pytest.fixture
def old_folder(tmp_path: Path) -> Path:
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "weights").write_text("old")
    (path / "card").write_text("old")
    return path


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def either_swap(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        monkeypatch.setattr(writing, "_exchange", lambda first, second: False)


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    rows = [{"id": "1", "text": "é\u2028\x00\n😀 שלום"}, {"id": "2", "text": ""}]
    write_jsonl(tmp_path / "new" / "rows.jsonl", rows)
    lines = (tmp_path / "new" / "rows.jsonl").read_bytes().decode().split("\n")
    assert [json.loads(line) for line in lines[:-1]] == rows
    assert lines[-1] == ""


def test_file_is_replaced_at_the_end_and_not_before(old_file: Path) -> None:
    with replacing_file(old_file, "wb") as file:
        file.write(b"new")
        file.flush()
        assert old_file.read_text() == "old"
    assert old_file.read_text() == "new"
    assert entries(old_file.parent) == ["out.txt"]


def test_an_error_while_writing_leaves_the_old_file(old_file: Path) -> None:
    def rows():
        yield {"a": 1}
        raise RuntimeError("the model broke")

    with pytest.raises(RuntimeError, match="the model broke"):
        write_jsonl(old_file, rows())
    assert old_file.read_text() == "old"
    assert entries(old_file.parent) == ["out.txt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_leaves_the_old_file(old_file: Path) -> None:
    def write() -> None:
        with open("/dev/full", "w") as full, replacing_file(old_file) as file:
            os.dup2(full.fileno(), file.fileno())
            file.write("new" * 100_000)

    with pytest.raises(UserError, match=r"out\.txt: no space left.*free some space"):
        write()
    assert old_file.read_text() == "old"
    assert entries(old_file.parent) == ["out.txt"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_full_at_the_last_step_leaves_the_old_file(
    old_file: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(os, call, no_space)
    with pytest.raises(UserError, match="no space left"):
        write_text(old_file, "new")
    assert old_file.read_text() == "old"
    assert entries(old_file.parent) == ["out.txt"]


def test_a_link_keeps_pointing_to_the_replaced_file(old_file: Path) -> None:
    link = old_file.with_name("link")
    link.symlink_to(old_file)
    write_text(link, "new")
    assert link.is_symlink()
    assert old_file.read_text() == "new"


def test_folder_is_replaced_whole(old_folder: Path, either_swap: None) -> None:
    with replacing_folder(old_folder) as new:
        (new / "weights").write_text("new")
        (new / "deep").mkdir()
        (new / "deep" / "file").write_text("new")
        assert entries(old_folder) == ["card", "weights"]
    assert entries(old_folder) == ["deep", "weights"]
    assert (old_folder / "weights").read_text() == "new"
    assert entries(old_folder.parent) == ["bundle"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_files_of_a_folder_have_the_usual_permissions(tmp_path: Path, mask: int, mode: int) -> None:
    """Safetensors makes files that their owner alone can read, whatever the mask."""
    before = os.umask(mask)
    try:
        with replacing_folder(tmp_path / "bundle") as new:
            (new / "encoder").mkdir()
            save_file({"weight": torch.zeros(2)}, new / "encoder" / "model.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "bundle" / "encoder" / "model.safetensors").stat().st_mode & 0o777 == mode


def test_a_folder_that_was_not_there_is_made(tmp_path: Path) -> None:
    with replacing_folder(tmp_path / "runs" / "first") as new:
        (new / "file").touch()
    assert entries(tmp_path / "runs" / "first") == ["file"]


class SafetensorError(Exception):
    """As safetensors words it: not an OSError."""


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), UserError),
        (SafetensorError("I/O error: No space left on device (os error 28)"), UserError),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), UserError),
        (FileNotFoundError(errno.ENOENT, "an input of the writer"), FileNotFoundError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_an_error_in_the_middle_leaves_the_old_folder(
    old_folder: Path, raised: BaseException, seen: type[BaseException]
) -> None:
    def write() -> None:
        with replacing_folder(old_folder) as new:
            (new / "weights").write_text("ne")
            raise raised

    with pytest.raises(seen):
        write()
    assert (old_folder / "weights").read_text() == "old"
    assert entries(old_folder.parent) == ["bundle"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_full_at_the_last_step_leaves_the_old_folder(
    old_folder: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(writing, "_exchange", lambda first, second: False)

    def write() -> None:
        with replacing_folder(old_folder) as new:
            (new / "weights").write_text("new")
            monkeypatch.setattr(os, call, no_space)

    with pytest.raises(UserError, match="no space left"):
        write()
    assert (old_folder / "weights").read_text() == "old"
    assert entries(old_folder.parent) == ["bundle"]


def test_a_swap_that_fails_halfway_is_undone(old_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_exchange", lambda first, second: False)
    rename, calls = os.replace, []

    def second_fails(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            no_space()
        rename(source, target)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(UserError, match="no space left"), replacing_folder(old_folder):
        pass
    assert len(calls) == 3
    assert (old_folder / "weights").read_text() == "old"
    assert entries(old_folder.parent) == ["bundle"]


@pytest.mark.parametrize("writer", [write_text, lambda path, _: replacing_folder(path).__enter__()])
def test_an_unwritable_place_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    # The tests may run as root, whom no permission bits stop.
    monkeypatch.setattr("builtins.open", denied)
    monkeypatch.setattr(os, "mkdir", denied)
    with pytest.raises(UserError, match=r"there: Permission denied; choose a place"):
        writer(tmp_path / "there", "new")
    assert entries(tmp_path) == []


def test_a_parent_that_is_a_file_is_named(old_file: Path) -> None:
    with pytest.raises(UserError, match="cannot write"):
        write_text(old_file / "below", "new")
    assert old_file.read_text() == "old"


def test_a_folder_does_not_take_the_place_of_a_file_nor_a_file_of_a_folder(old_file: Path, old_folder: Path) -> None:
    with pytest.raises(UserError, match="a file is there"), replacing_folder(old_file):
        pass
    with pytest.raises(UserError, match="a folder is there"):
        write_text(old_folder, "new")
    assert entries(old_file.parent) == ["bundle", "out.txt"]


def run_and_kill(script: str, *arguments: Path) -> None:
    """Run a script that kills itself without a chance to clean up."""
    start = "import os, sys\nfrom unskew.common import atomic as writing\nkill = lambda: os.kill(os.getpid(), 9)\n"
    done = subprocess.run([sys.executable, "-c", start + script, *map(str, arguments)], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def test_a_kill_while_writing_leaves_the_old_and_the_next_write_clears_up(old_file: Path, old_folder: Path) -> None:
    run_and_kill(
        "with writing.replacing_file(sys.argv[1]) as file, writing.replacing_folder(sys.argv[2]) as new:\n"
        "    file.write('new'); file.flush(); (new / 'weights').write_text('ne'); kill()",
        old_file,
        old_folder,
    )
    assert old_file.read_text() == "old"
    assert (old_folder / "weights").read_text() == "old"
    assert len(entries(old_file.parent)) == 4
    write_text(old_file, "new")
    with replacing_folder(old_folder):
        pass
    assert entries(old_file.parent) == ["bundle", "out.txt"]
    assert old_file.read_text() == "new"


def test_a_kill_right_after_the_exchange_leaves_the_new(old_folder: Path) -> None:
    run_and_kill(
        "swap = writing._swap\n"
        "writing._swap = lambda new, place: (swap(new, place), kill())\n"
        "with writing.replacing_folder(sys.argv[1]) as new: (new / 'weights').write_text('new')",
        old_folder,
    )
    assert (old_folder / "weights").read_text() == "new"
    with pytest.raises(RuntimeError), replacing_folder(old_folder):
        raise RuntimeError
    assert (old_folder / "weights").read_text() == "new"
    assert entries(old_folder.parent) == ["bundle"]


@pytest.mark.parametrize("next_step", ["read", "write"])
def test_a_kill_between_two_renames_is_mended(old_folder: Path, next_step: str) -> None:
    run_and_kill(
        "writing._exchange = lambda first, second: False\n"
        "rename = os.replace\n"
        "os.replace = lambda source, target: (rename(source, target), kill())\n"
        "with writing.replacing_folder(sys.argv[1]) as new: (new / 'weights').write_text('new')",
        old_folder,
    )
    assert not old_folder.exists()
    if next_step == "read":
        restore_folder(old_folder)
    else:
        with pytest.raises(RuntimeError), replacing_folder(old_folder):
            raise RuntimeError
    assert (old_folder / "weights").read_text() == "old"
    assert (old_folder / "card").read_text() == "old"


def test_a_writer_at_work_is_left_alone(old_file: Path) -> None:
    with replacing_file(old_file) as slow:
        slow.write("slow")
        write_text(old_file, "fast")
        assert old_file.read_text() == "fast"
    assert old_file.read_text() == "slow"


def test_files_of_one_folder_are_written_without_listing_it_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the work for n files grows with n squared; leftovers are removed all the same, whichever thread writes."""
    names = [f"part-{number}" for number in range(40)]
    run_and_kill(
        "import pathlib, contextlib\n"
        "with contextlib.ExitStack() as stack:\n"
        "    for name in range(40): stack.enter_context(writing.replacing_file(f'{sys.argv[1]}/part-{name}'))\n"
        "    kill()",
        tmp_path,
    )
    assert len(entries(tmp_path)) == 40
    listed, real = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(path) or real(path))
    write_text(tmp_path / "first", "new")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: write_text(tmp_path / name, "new"), names))
    assert len(listed) == 1
    assert entries(tmp_path) == sorted(["first", *names])
