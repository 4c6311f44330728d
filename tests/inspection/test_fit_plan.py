"""`fit --dry_run`: what it says, and that it does nothing."""

from types import SimpleNamespace

import pytest

from unskew.cli.main import main
from unskew.common import paths, write_jsonl


@pytest.fixture
def sets(make_rows, tmp_path):
    """A clean set, and a noisy one with a row that cannot be used."""
    write_jsonl(tmp_path / "train.jsonl", make_rows({"harvest": 30, "harbour": 6}, 0, "row"))
    noisy = make_rows({"harvest": 300, "harbour": 200}, 1, "noisy")
    write_jsonl(tmp_path / "noisy.jsonl", [{**noisy[0], "text": " "}, *noisy[1:]])
    return ["--data.train", str(tmp_path / "train.jsonl"), "--data.noisy", str(tmp_path / "noisy.jsonl")]


def exit_code(arguments, output):
    with pytest.raises(SystemExit) as ended:
        main(["fit", *arguments, "--output", str(output), "--dry_run"])
    return ended.value.code


def planned(arguments, output, capsys):
    assert not exit_code(arguments, output)
    out = capsys.readouterr().out
    return dict(line.split(":", 1) for line in out.splitlines())


def test_rows_topics_tokens_disk_memory_and_time_are_said_and_nothing_is_written(sets, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    said = planned(sets, tmp_path / "bundle", capsys)
    assert "36 rows, 2 topics of 6 to 30 rows" in said["clean"]
    assert "500 rows" in said["noisy"]
    assert "1 of the first 500 rows cannot be used, the first:" in said["noisy"]
    assert "tokens each" in said["texts"]
    for stage in ("encoder", "decoder"):
        assert "from scratch; about" in said[stage]
        assert "GB of memory" in said[stage]
    assert "GB free" in said["disk"]
    assert sorted(tmp_path.rglob("*")) == before


def test_topics_alone_need_no_decoder(sets, tmp_path, capsys):
    assert "decoder" not in planned([*sets, "--decoder", "null"], tmp_path / "bundle", capsys)


def test_a_noisy_set_as_csv_is_counted_by_its_lines(sets, tmp_path, capsys):
    (tmp_path / "noisy.csv").write_text("text,topic\n" + "wheat is cut,harvest\n" * 40)
    said = planned([*sets[:2], "--data.noisy", str(tmp_path / "noisy.csv")], tmp_path / "bundle", capsys)
    assert "about 41 rows" in said["noisy"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--decoder.base", "nowhere/at-all"], "nowhere/at-all"),
        (["--data.columns.text", "body"], "body"),
    ],
)
def test_what_a_fit_would_refuse_is_refused(wrong, said, sets, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # else the hub is asked, for a minute
    assert exit_code([*sets, *wrong], tmp_path / "bundle") == 2
    assert said in capsys.readouterr().err


def test_a_disk_without_room_is_refused(sets, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(paths.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    assert exit_code(sets, tmp_path / "bundle") == 2
    assert "less than 100 MB are free" in capsys.readouterr().err
