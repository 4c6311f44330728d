"""The command line: contracts, exit codes, one-line errors."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from unskew import __version__
from unskew.balance import LossSettings
from unskew.cli.main import COMMANDS, main, make_parser
from unskew.decoder import DecoderSettings
from unskew.training import PhaseSettings, ScratchSettings


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_help_lists_every_command(capsys):
    code, out, _ = call(capsys, "--help")
    assert code == 0
    assert all(name in out for name in COMMANDS)


def test_the_state_of_a_job_is_asked_for_in_the_same_words_everywhere(capsys):
    asked = "job status OUTPUT"
    assert asked in call(capsys, "--help")[1]
    assert asked in call(capsys, "job", "--help")[1]
    assert asked in call(capsys, "job", "status")[2]
    assert f"unskew {asked}\n" in (Path(__file__).parents[2] / "docs" / "jobs.md").read_text("utf-8")


def test_the_package_runs_as_a_module():
    found = subprocess.run([sys.executable, "-m", "unskew", "--version"], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == f"unskew {__version__}"


def test_help_does_not_load_the_models_libraries():
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys\n"
            "from unskew.cli.main import main\n"
            "try: main(['--help'])\n"
            "except SystemExit: pass\n"
            "print('torch' in sys.modules, 'datasets' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.splitlines()[-1] == "False False"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_its_options(capsys, command):
    code, out, _ = call(capsys, command, "--help")
    assert code == 0
    assert "--config" in out
    if command != "serve":  # writes nothing
        assert "--output" in out
        assert "--overwrite" in out


def test_help_of_fit_is_short_and_whole(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # parallel runs of tests say 80
    code, out, _ = call(capsys, "fit", "--help")
    assert code == 0
    assert len(out.splitlines()) < 150
    first = out[: out.index("options:")]
    assert all(f"--{name} " in first for name in ("data.train", "output", "encoder.base", "decoder.base"))
    shared = {f".{field} " for shape in (LossSettings, PhaseSettings, ScratchSettings) for field in vars(shape())}
    named = {action.dest for action in make_parser("fit")[0]._actions} | {
        f"decoder.{n}" for n in vars(DecoderSettings())
    }
    for name in named - {"data", "encoder", "decoder", "data.columns"}:
        last = name.rpartition(".")[2]
        assert f"--{name}" in out or last == "help" or f".{last} " in shared, name


def test_help_has_the_defaults_in_force(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    _, out, _ = call(capsys, "fit", "--help")
    assert "(default 1 in encoder.scratch, 2 in decoder.scratch)" in out
    assert "must be a multiple of `heads`. (default 64)" in out
    _, out, _ = call(capsys, "synthesise", "--help")
    width = next(line for line in out.splitlines() if "--decoder.scratch.width" in line)
    assert f"(default {DecoderSettings().scratch.width})" in width


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(capsys, command):
    _, out, _ = call(capsys, command, "--help")
    lines = out.splitlines()
    options = [(n, line) for n, line in enumerate(lines) if line.startswith(("  --", "  ."))]
    assert options
    for n, line in options:
        explained = line[30:].strip() if line[28:30] == "  " else lines[n + 1].strip()
        assert len(explained) > 5, line
        assert explained[0] != "(", line


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_no_model_library(command):
    script = (
        "import sys\n"
        "from unskew.cli.main import main\n"
        f"try: main([{command!r}, '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'lightning', 'peft', 'datasets', 'sklearn'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("base", "rate"), [([], 1e-3), (["--encoder.base", "some/base"], 1e-4)])
def test_the_printed_config_is_what_would_be_used(capsys, tmp_path, base, rate):
    given = ["--data.train", "x.jsonl", "--output", "o", "--encoder.clean.epochs", "9", *base]
    code, out, _ = call(capsys, "fit", *given, "--print_config")
    assert code == 0
    printed = yaml.safe_load(out)
    assert printed["encoder"]["clean"] == {**printed["encoder"]["clean"], "epochs": 9, "learning_rate": rate}
    (tmp_path / "printed.yaml").write_text(out)
    assert call(capsys, "fit", "--config", str(tmp_path / "printed.yaml"), "--print_config")[1] == out


def test_a_loss_field_that_the_loss_does_not_have_is_refused(capsys):
    given = ["--data.train", "x.jsonl", "--output", "o", "--encoder.loss.name", "cross_entropy"]
    code, _, err = call(capsys, "fit", *given, "--encoder.loss.gamma", "3")
    assert code == 2
    assert "gamma has no effect with cross_entropy" in err


def test_unknown_command(capsys):
    code, _, err = call(capsys, "train")
    assert code == 2
    assert "fit, predict" in err


def test_users_mistake_is_one_line_without_traceback(capsys, tmp_path):
    code, _, err = call(
        capsys,
        "fit",
        "--data.train",
        str(tmp_path / "no.jsonl"),
        "--output",
        str(tmp_path / "bundle"),
        "--decoder",
        "null",
    )
    assert code == 2
    assert err.strip().count("\n") == 0
    assert "no.jsonl" in err


def test_wrong_setting_is_named(capsys, tmp_path):
    code, _, err = call(
        capsys, "fit", "--data.train", "x", "--output", str(tmp_path / "b"), "--encoder.layer_decay", "7"
    )
    assert code == 2
    assert "layer_decay" in err


def test_predict_and_evaluate(capsys, fitted, corpus, tmp_path):
    bundle = str(fitted[1])
    (tmp_path / "in.csv").write_text("key,body\n1,wheat field\n2,\n")
    options = ["--columns.text", "body", "--columns.id", "key", "--device", "cpu", "--generation.max_new_tokens", "4"]
    code, out, _ = call(
        capsys, "predict", "--model", bundle, "--input", str(tmp_path / "in.csv"),
        "--output", str(tmp_path / "out.jsonl"), *options,
    )  # fmt: skip
    assert code == 3
    assert "1 rows written; 1 rows could not be processed" in out
    assert json.loads((tmp_path / "out.jsonl").read_text())["id"] == "1"
    code, out, _ = call(
        capsys, "evaluate", "--model", bundle, "--input", str(corpus / "test.jsonl"), "--target_prior", "train",
        "--output", str(tmp_path / "evaluation"), "--device", "cpu", "--generation.max_new_tokens", "4",
    )  # fmt: skip
    assert code == 0
    assert "balanced accuracy" in out


def test_fit_from_a_config_file(capsys, corpus, tmp_path):
    (tmp_path / "fit.yaml").write_text(
        f"data: {{train: {corpus / 'train.jsonl'}}}\n"
        "decoder: null\n"
        "encoder:\n"
        "  scratch: {layers: 1, width: 32, heads: 2, vocabulary: 400}\n"
        "  clean: {epochs: 1, learning_rate: 0.005}\n"
        "  loss: {name: balanced_softmax}\n"
        "  trainer: {accelerator: cpu}\n"
    )
    code, _, err = call(capsys, "fit", "--config", str(tmp_path / "fit.yaml"), "--output", str(tmp_path / "bundle"))
    assert code == 0, err
    manifest = json.loads((tmp_path / "bundle" / "unskew.json").read_text())
    assert manifest["description"]["settings"]["encoder"]["loss"]["name"] == "balanced_softmax"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--encoder.clean.learning_rate=1e30", "encoder, clean: training diverged: the "),
        ("--encoder.clean.weight_decay=1e38", "weight_decay is 1e+38, must be from 0 to below 1 / learning_rate"),
    ],
)
def test_training_that_diverges_writes_nothing(capsys, corpus, tmp_path, option, said):
    code, _, err = call(
        capsys, "fit", "--data.train", str(corpus / "train.jsonl"), "--output", str(tmp_path / "bundle"),
        "--decoder", "null", "--encoder.max_tokens", "32", option,
    )  # fmt: skip
    assert code == 2
    assert said in err.splitlines()[-1]
    assert not (tmp_path / "bundle").exists()
