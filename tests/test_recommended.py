"""The recommended configuration is the default, and the lines that the docs give are options that there are."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from unskew.cli.main import make_parser
from unskew.pipeline import FitSettings

ROOT = Path(__file__).parent.parent
CURES = (ROOT / "docs" / "cures.md").read_text("utf-8")
BASES = ["--encoder.base", "some/encoder", "--decoder.base", "some/decoder"]
GIVEN = ["--data.train", "train.jsonl", "--output", "runs/mine"]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", CURES, flags=re.DOTALL)


def parsed(*arguments):
    """The settings that `fit` would get, with what stands for something else resolved."""
    parser, _ = make_parser("fit")
    options = vars(parser.instantiate(parser.parse_args([*GIVEN, *arguments])))
    settings = FitSettings(**{name: options[name] for name in FitSettings.__dataclass_fields__}).resolved()
    plain = asdict(settings)
    for name in ("loss", "noisy_loss", "head_loss"):
        if (loss := getattr(settings.encoder, name)) is not None:
            plain["encoder"][name]["weights"] = loss.scheme
    return plain


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda file: file.name)
def test_a_config_opens_with_the_command_that_runs_it(file):
    assert re.match(r"# (unskew|python benchmarks/\w+\.py) ", file.read_text("utf-8"))


@pytest.mark.parametrize("file", ["ddp", "demo", "fsdp", "recommended"])
def test_a_config_has_only_options_that_there_are(file):
    bases = BASES if file == "recommended" else []
    assert parsed("--config", str(ROOT / "configs" / f"{file}.yaml"), *bases)


def test_the_recommended_combination_is_the_default():
    config = ROOT / "configs" / "recommended.yaml"
    assert parsed("--config", str(config), *BASES) == parsed(*BASES)
    assert parsed("--config", str(config), *BASES, "--encoder.recipe", "probe") != parsed(*BASES)


def test_the_recommended_combination_is_what_its_name_says():
    spelled = yaml.safe_load((ROOT / "configs" / "recommended.yaml").read_text("utf-8"))
    assert spelled["decoder"]["adaptation"] == "lora"
    assert spelled["decoder"]["prompt"] == "instruction"
    assert spelled["encoder"]["recipe"] == "tuned"


@pytest.mark.parametrize("block", blocks("yaml"))
def test_the_lines_of_the_docs_are_options_of_fit(block, tmp_path):
    (tmp_path / "block.yaml").write_text(block)
    given = yaml.safe_load(block)
    settings = parsed("--config", str(tmp_path / "block.yaml"))
    for stage, options in given.items():
        for name, value in options.items() if isinstance(options, dict) else ():
            found = settings[stage][name]
            if isinstance(value, dict):
                assert {key: found[key] for key in value} == value
            else:
                assert found == value


@pytest.mark.parametrize("line", [line for block in blocks("bash") for line in block.splitlines()])
def test_the_commands_of_the_docs_have_these_options(line):
    program, command, *options = line.split()
    assert program == "unskew"
    parser, _ = make_parser(command)
    parser.parse_args(options)


def test_every_loss_and_calibration_is_explained():
    from typing import get_args

    from unskew.balance import CalibrationKind
    from unskew.balance.settings import LossName

    for name in {*get_args(LossName), *get_args(CalibrationKind)} - {"balanced_softmax"}:
        assert re.search(rf"\b{name}\b", CURES), name


def headings(page):
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.*)", page, re.M)}


def test_links_within_the_docs_lead_somewhere():
    assert set(re.findall(r"\]\(#([\w-]+)\)", CURES)) <= headings(CURES)
    for link in re.findall(r"\]\((?!#|https)([^)]+)\)", CURES):
        path, _, heading = link.partition("#")
        assert (ROOT / "docs" / path).exists(), link
        assert not heading or heading in headings((ROOT / "docs" / path).read_text("utf-8")), link
