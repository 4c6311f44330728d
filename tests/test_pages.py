"""What the pages show is there: commands and configurations are parsed, Python compiles, names and links are found."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
import yaml

from unskew.cli.main import COMMANDS, main, make_parser

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks" / "README.md"])
HISTORY = {ROOT / "CHANGELOG.md"}  # names what is gone
NEEDED = {
    "ablate": ["--data.train", "train.jsonl", "--test", "test.jsonl", "--output", "out"],
    "evaluate": ["--model", "bundle", "--input", "test.jsonl", "--output", "out"],
    "fit": ["--data.train", "train.jsonl", "--output", "out"],
    "predict": ["--model", "bundle", "--input", "in.jsonl", "--output", "out.jsonl"],
    "synthesise": ["--model", "bundle", "--data.train", "train.jsonl", "--output", "out.jsonl"],
}


def _blocks(language):
    """Every fenced block in a language, with its page as the test's name."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.M | re.S)
    found = [(page, match.group(1)) for page in PAGES for match in fence.finditer(page.read_text("utf-8"))]
    return [pytest.param(text, id=f"{page.name}-{number}") for number, (page, text) in enumerate(found)]


def _commands(text):
    lines = (re.split(r"(?:^|\s)#", line)[0].strip() for line in text.replace("\\\n", " ").splitlines())
    return [shlex.split(line) for line in lines if line]


def _accepted(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--print_config"])
    said = capsys.readouterr().err
    return ended.value.code == 0, said


@pytest.mark.parametrize("text", _blocks("bash"))
def test_commands_are_understood(capsys, monkeypatch, text):
    monkeypatch.chdir(ROOT)
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    for command in _commands(text):
        words = [word for word in command if not re.fullmatch(r"[A-Z_]+=\S*", word)]
        if words[0] == "unskew" and words[1] in COMMANDS:
            understood, said = _accepted(capsys, words[1:])
            assert understood, said
        elif words[0] == "make":
            assert set(words[1:]) <= targets
        elif words[0] == "python":
            assert (ROOT / words[1]).exists() or words[1] == "-m"


@pytest.mark.parametrize("text", _blocks("yaml"))
def test_configurations_are_options_of_a_command(capsys, tmp_path, text):
    assert isinstance(yaml.safe_load(text), dict)
    (tmp_path / "page.yaml").write_text(text)
    given = ["--config", str(tmp_path / "page.yaml")]
    answers = {command: _accepted(capsys, [command, *needed, *given]) for command, needed in NEEDED.items()}
    assert any(understood for understood, _ in answers.values()), answers["fit"][1]


@pytest.mark.parametrize("text", _blocks("python"))
def test_python_compiles_and_its_imports_are_there(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("unskew"):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names)


def test_every_option_that_is_named_exists():
    known = {
        option
        for command in COMMANDS
        for action in make_parser(command)[0]._actions
        for option in action.option_strings
    }
    others = {"--help", "--version", "--dry-run", "--retry-errors"}
    unknown = {
        f"{page.name}: {name}"
        for page in PAGES
        if page not in HISTORY
        for name in re.findall(r"`(?:unskew \w+ )?(--[a-z][\w.-]*)", page.read_text("utf-8"))
        if name.replace("-", "_").replace("__", "--", 1) not in known | others
    }
    assert unknown == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
