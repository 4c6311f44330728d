"""What the user got wrong: one line and exit code 2, whatever settings it is in, with the nearest names."""

import json
import logging
import re

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
        ("--decoder.prompt", "hello", "'hello' must contain {text} exactly once"),
        ("--decoder.scratch.width", "30", "width is 30, must be an even multiple"),
        ("--encoder.max_tokens", "1", "max_tokens is 1"),
        ("--seed", "x", "--seed: Expected an int. Got value: x"),
        ("--decoder.alpha", "1e20", "--decoder.alpha: Expected an int. Got value: 1e+20; unskew"),
        ("--decoder.clean.epochs", "x", "--decoder.clean.epochs: Expected an int (given: x); unskew"),
        ("--decoder.topic_loss.name", "focl", "--decoder.topic_loss.name: expected one of 'cross_entropy', 'focal'"),
        ("--decoder.topic_loss.tau", "1", "tau has no effect with cross_entropy"),
        ("--decoder", "x", "--decoder: expected settings such as {name: value}"),
        ("--encoder", "null", "--encoder: Unable to load config 'null'"),
        ("--seed", "9" * 30, "--seed is 9"),
        ("--seed", "-1", "seed is -1, must be between 0 and 4294967295"),
        ("--seed", str(2**32), "seed is 4294967296, must be"),
        ("--decoder.clean.epochs", "9" * 30, "--decoder.clean.epochs is 9"),
        ("--encoder.scratch.width", "4000000000", "width is 4000000000, must be at most 32768"),
        ("--decoder.trainer", '{"precision": "x"}', "decoder: the trainer options {'precision': 'x'} are invalid"),
        ("--encoder.trainer", '{"strategy": "x"}', "encoder: the trainer options {'strategy': 'x'} are invalid"),
        ("--decoder.trainer", '{"max_epochs": 3}', "decoder: the trainer options max_epochs are set by unskew"),
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
        ("--decoder.topic_loss.alpha", "no option --decoder.topic_loss.alpha; did you mean --decoder.topic_loss."),
        ("--decoder.clean.epchs", "no option --decoder.clean.epchs; did you mean --decoder.clean.epochs"),
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
        ("a: [", "c.yaml is not YAML in UTF-8: while parsing"),
        ("a: [", "line 1, column 5"),
        ("- 1", "c.yaml has no options"),
        ("", "c.yaml has no options"),
        ("\x00", "c.yaml is not YAML in UTF-8"),
        ("\udcff\udcfe", "c.yaml is not YAML in UTF-8"),
    ],
)
def test_a_config_file_is_refused_alike(capsys, tmp_path, text, said):
    (tmp_path / "c.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert said in refusal(capsys, "fit", "--config", str(tmp_path / "c.yaml"), *FIT[1:])


OUTPUTS = {
    "inspect": ["--data.train", "../rows.jsonl"],
    "compare": ["--run_a", "../rows.jsonl", "--run_b", "../rows.jsonl"],
    "predict": ["--model", "none", "--input", "../rows.jsonl"],
    "fit": ["--data.train", "../rows.jsonl"],
    "tune": ["--data.train", "../rows.jsonl"],
    "evaluate": ["--model", "none", "--input", "../rows.jsonl"],
    "audit": ["--predictions", "../rows.jsonl", "--labels", "../rows.jsonl"],
    "synthesise": ["--model", "none", "--data.train", "../rows.jsonl"],
    "newsroom": [],
    "ablate": [
        "--data.train",
        "../rows.jsonl",
        "--test",
        "../rows.jsonl",
        "--definitions.a",
        '{"title": "a", "group": "decoder"}',
    ],
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working folder, with what an output cannot be, and what must not be lost."""
    folder = tmp_path / "here"
    (folder / "others").mkdir(parents=True)
    monkeypatch.chdir(folder)
    (folder / "loop").symlink_to("loop")
    (folder / "file").write_text("")
    (folder / "others" / "kept.txt").write_text("kept")
    (tmp_path / "rows.jsonl").write_text('{"id": "1", "text": "a", "topic": "x"}\n')
    yield folder
    assert {path.name for path in folder.iterdir()} == {"loop", "file", "others"}
    assert (folder / "others" / "kept.txt").read_text() == "kept"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a\0b", "is not the name of a file"),
        ("x" * 200, "longer than"),
        (".", "working folder|is a folder"),
        ("/dev/null", "neither a file nor a folder"),
        ("others", "has other contents|is a folder"),
    ],
)
@pytest.mark.parametrize("command", OUTPUTS)
def test_outputs_that_cannot_be_or_must_not_be_replaced_are_one_line(capsys, here, command, name, said):
    """Also before a bundle is looked for: there is none."""
    assert re.search(said, refusal(capsys, command, *OUTPUTS[command], "--output", name, "--overwrite"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/dev/null", "neither a file nor a folder"),
        ("others", "is a folder"),
        ("../rows.jsonl", "NAME.prom"),
        ("none/x.prom", "its folder does not exist"),
    ],
)
def test_a_metrics_file_must_be_one_and_replaces_no_other(capsys, here, name, said):
    more = ["--output", "out.jsonl", "--metrics", name]
    assert said in refusal(capsys, "predict", *OUTPUTS["predict"], *more)


def test_a_name_under_the_home_folder_is_meant_there(capsys, here, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(SystemExit) as ended:
        main(["audit", *OUTPUTS["audit"], "--output", "~/audit"])
    assert ended.value.code == 0
    assert str(tmp_path / "home" / "audit" / "audit.json") in capsys.readouterr().out


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
