"""Options with a new name: the old name is read for one more version, with a warning. Runs no command."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ..common import UserError

NEW_NAMES = {"columns.of": "columns.paraphrase_of", "engine": "executor", "writer": "backend"}
CONFIG = "--config"

log = logging.getLogger(__name__)


def with_new_names(arguments: Sequence[str]) -> list[str]:
    """The arguments under their new names, including those in `--config` files."""
    renamed: list[str] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if renamed and renamed[-1] == CONFIG:
            renamed.append(_config(argument))
        elif name == CONFIG and equals:
            renamed.append(f"{CONFIG}={_config(value)}")
        elif name.startswith("--"):
            renamed.append(f"--{_new_name(name.removeprefix('--'))}{equals}{value}")
        else:
            renamed.append(argument)
    return renamed


def _config(path: str) -> str:
    """The path; if the file has old names, its content with new names instead. `--config` takes either.

    Raises:
        UserError: If there is such a file, but it is not YAML with options.
    """
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError):
        return path  # no file, but options as text; the parser says what is wrong with them
    try:
        options = yaml.safe_load(content.decode())
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"the config {path} is not YAML in UTF-8: {said}; correct it or save it again") from error
    if not isinstance(options, dict):
        raise UserError(f"the config {path} has no options; write one a line, as in `model: runs/mine`")
    current = _with_new_keys(options)
    return path if current == options else yaml.safe_dump(current, sort_keys=False, allow_unicode=True)


def _with_new_keys(options: Any, inside: str = "") -> Any:
    if not isinstance(options, dict):
        return options
    return {
        _new_name(f"{inside}{key}").removeprefix(inside): _with_new_keys(value, f"{inside}{key}.")
        for key, value in options.items()
    }


def _new_name(name: str) -> str:
    for old, new in NEW_NAMES.items():
        if name == old or ("." in old and name.endswith(f".{old}")):
            log.warning("%s is now called %s; this version still reads the old name, the next one will not", old, new)
            return name.removesuffix(old) + new
    return name
