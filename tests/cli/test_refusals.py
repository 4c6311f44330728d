"""What the user got wrong: one line and exit code 2, whatever settings it is in, with the nearest names."""

import json
import logging

import pytest

from unskew.cli.logs import JsonLine, Printable
from unskew.cli.main import main, make_parser
from unskew.cli.refusals import option_names

FIT = ("fit", "--data.train", "no.jsonl", "--output", "out")


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr().err.strip()
    assert ended.value.code == 2, said
    assert "\n" not in said
    assert len(said) < 700
    return said


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--decoder.max_tokens", "-5", "max_tokens is -5, must be positive"),
        ("--decoder.rank", "0", "rank is 0"),
        ("--decoder.prompt", "hello", "'hello' must hold {text} exactly once"),
        ("--decoder.scratch.width", "30", "width 30 is not an even multiple"),
        ("--encoder.max_tokens", "1", "max_tokens is 1"),
        ("--seed", "x", "--seed: Expected a int. Got value: x"),
        ("--calibration", "best", "expected one of 'none', 'temperature'"),
        ("--target_prior", "equal", "expected one of 'uniform', 'train'"),
    ],
)
def test_a_wrong_value_is_one_line(capsys, option, value, said):
    assert said in refusal(capsys, *FIT, option, value)


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("--encodr.max_tokens", "--encoder.max_tokens"),
        ("--max-tokens", "--encoder.max_tokens or --decoder.max_tokens"),
        ("--encoder.loss.gama", "--encoder.loss.gamma"),
        ("--decoder.max_tokns", "--decoder.max_tokens"),
        ("--zzz", "--help lists the options"),
    ],
)
def test_an_unknown_option_answers_with_the_nearest_names(capsys, option, meant):
    said = refusal(capsys, *FIT, option, "3")
    assert "there is no option" in said
    assert meant in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("decoder: {max_tokens: -5}", "max_tokens is -5"),
        ("decoder: {max_tokns: 5}", "did you mean --decoder.max_tokens"),
        ("encoder: {scratch: {widht: 5}}", "did you mean --encoder.scratch.width"),
        ("decodr: {max_tokens: 5}", "did you mean --decoder.max_tokens"),
        ("a: [", "line 2"),
        ("- 1", ""),
        ("", ""),
        ("\x00", ""),
    ],
)
def test_a_config_file_is_refused_alike(capsys, tmp_path, text, said):
    (tmp_path / "c.yaml").write_text(text)
    assert said in refusal(capsys, "fit", "--config", str(tmp_path / "c.yaml"), *FIT[1:])


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 300, "loop/x", "file/x", "~nobody-of-this-name/x"])
@pytest.mark.parametrize("command", ["fit", "predict", "evaluate", "audit"])
def test_odd_outputs_are_one_line(capsys, tmp_path, monkeypatch, command, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    (tmp_path / "rows.jsonl").write_text('{"id": "1", "text": "a", "topic": "x"}\n')
    given = {
        "fit": ["--data.train", "rows.jsonl"],
        "predict": ["--model", "none", "--input", "rows.jsonl"],
        "evaluate": ["--model", "none", "--input", "rows.jsonl"],
        "audit": ["--predictions", "rows.jsonl", "--labels", "rows.jsonl"],
    }
    refusal(capsys, command, *given[command], "--output", name)


@pytest.mark.parametrize("name", [".", "..", "/", "/dev/null"])
@pytest.mark.parametrize("command", ["fit", "evaluate", "audit"])
def test_no_folder_that_is_in_use_is_replaced(capsys, tmp_path, monkeypatch, command, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path.parent / "rows.jsonl").write_text('{"id": "1", "text": "a", "topic": "x"}\n')
    given = {
        "fit": ["--data.train", "../rows.jsonl"],
        "evaluate": ["--model", "none", "--input", "../rows.jsonl"],
        "audit": ["--predictions", "../rows.jsonl", "--labels", "../rows.jsonl"],
    }
    refusal(capsys, command, *given[command], "--output", name, "--overwrite")


def test_every_option_of_the_parser_is_known_by_name():
    parser, function = make_parser("fit")
    names = {action.dest for action in parser._actions} - {"help", "data", "encoder"}
    assert {name for name in names if "." in name and not name.endswith(".help")} <= set(option_names(function))


def test_a_log_line_shows_escape_sequences_as_text():
    record = logging.LogRecord("unskew", logging.WARNING, "", 0, "%s", ("\x1b[2Jtopic\u202e",), None)
    assert Printable("%(message)s").format(record) == r"\x1b[2Jtopic\u202e"


def test_a_log_line_as_json():
    record = logging.LogRecord("unskew", logging.WARNING, "", 0, "a\nline of %s", ("\x1b[2J",), None)
    values = json.loads(JsonLine().format(record))
    assert (values["level"], values["message"]) == ("warning", "a\nline of \x1b[2J")
    assert values["time"].endswith("+00:00")


def test_an_error_shows_escape_sequences_as_text(capsys, tmp_path):
    said = refusal(capsys, "fit", "--data.train", str(tmp_path / "\x1b[2J.jsonl"), "--output", str(tmp_path / "out"))
    assert "\x1b" not in said
    assert r"\x1b[2J" in said
