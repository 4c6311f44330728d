"""Old names of options: what they become, where they are read, and what is said."""

import logging

import pytest
import yaml

from unskew.cli.old_names import with_new_names


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--writer", "vllm"], ["--backend", "vllm"]),
        (["--engine=ray", "--model", "engine"], ["--executor=ray", "--model", "engine"]),
        (["--data.columns.of", "parent"], ["--data.columns.paraphrase_of", "parent"]),
    ],
)
def test_old_options_get_their_new_names(caplog, given, expected):
    with caplog.at_level(logging.WARNING):
        assert with_new_names(given) == expected
    assert "is now called" in caplog.text


def test_new_names_pass_without_a_word(caplog, tmp_path):
    (tmp_path / "new.yaml").write_text("backend: torch\ndata: {columns: {text: writer}}\n")
    given = ["--config", str(tmp_path / "new.yaml"), "--executor", "ray"]
    with caplog.at_level(logging.WARNING):
        assert with_new_names(given) == given
    assert not caplog.text


def test_old_keys_of_a_config_file_get_their_new_names(tmp_path):
    (tmp_path / "old.yaml").write_text("writer: torch\ndata: {columns: {of: parent, text: body}}\n")
    _, inline = with_new_names(["--config", str(tmp_path / "old.yaml")])
    assert yaml.safe_load(inline) == {
        "backend": "torch",
        "data": {"columns": {"paraphrase_of": "parent", "text": "body"}},
    }


@pytest.mark.parametrize("given", ["none.yaml", "", "writer: [\0"])
def test_a_config_that_is_no_file_is_left_to_the_parser(given):
    assert with_new_names(["--config", given]) == ["--config", given]
