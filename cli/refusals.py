"""A parser's refusal as one line: what is wrong, and the nearest names of an option that there is not.

Knows the parser's messages and the types of a command's options; parses nothing.
"""

import difflib
import re
import types
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from ..common import UserError, one_line
from .settings_argument import NAME

LONGEST = 400


def as_user_error(error: BaseException, command: str, function: Callable[..., int]) -> UserError | None:
    """What the user did wrong, by an exception of the parser; None where the fault is not the user's."""
    own = _in_chain(error, UserError)
    if own is not None:
        return own
    unknown = _unknown_option(str(error))
    if unknown:
        return UserError(f"there is no option --{unknown}; {_nearest(unknown, command, function)}")
    if type(error).__name__ != "ArgumentError":
        return None
    return UserError(f"{_condensed(str(error))}; unskew {command} --help explains the options")


def option_names(function: Callable[..., int]) -> list[str]:
    """The options of a command by their full names, those inside optional settings too."""
    hints = get_type_hints(function)
    shape = hints.pop(NAME, None)
    hints |= get_type_hints(shape) if shape else {}
    return ["config", *(name for option, kind in hints.items() if option != "return" for name in _names(option, kind))]


def _names(option: str, kind: Any) -> Iterator[str]:
    yield option
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    for settings in kinds:
        if isinstance(settings, type) and is_dataclass(settings):
            hints = get_type_hints(settings)
            for field in fields(settings):
                yield from _names(f"{option}.{field.name}", hints[field.name])


def _nearest(unknown: str, command: str, function: Callable[..., int]) -> str:
    names = option_names(function)
    near = difflib.get_close_matches(unknown, names, n=3, cutoff=0.7)
    last = unknown.rpartition(".")[2]
    near += [name for name in names if name.rpartition(".")[2] == last and name not in near]
    if not near:
        lasts = {name.rpartition(".")[2]: name for name in reversed(names)}
        near = [lasts[name] for name in difflib.get_close_matches(last, lasts, n=3, cutoff=0.75)]
    if not near:
        return f"unskew {command} --help lists the options"
    return f"did you mean {' or '.join(f'--{name}' for name in near[:3])}?"


def _unknown_option(message: str) -> str | None:
    found = re.search(r"unrecognized arguments: --([^\s=]+)", message)
    if found:
        return found[1]
    found = re.search(r"Group '([^']+)' does not accept option '([^']+)'", message)
    if found:
        return f"{found[1]}.{found[2]}"
    found = re.search(r"(?:[Oo]ption '([^']+)' is not accepted|Key '([^']+)' is not expected)", message)
    if not found:
        return None
    name, key = found[1] or found[2], re.search(r'Parser key "([^"]+)"', message)
    return f"{key[1]}.{name}" if key and not name.startswith(key[1]) else name


def _condensed(message: str) -> str:
    """The message on one line: of the kinds of value that were tried, the first that the user can have meant."""
    tried = re.findall(r"^ +- (.*(?:\n {6,}.*)*)", message, re.MULTILINE)
    meant = [reason for reason in tried if "NoneType" not in reason]
    if meant:
        given = re.search(r"Given value: (.*)", message)
        message = message[: message.find("Does not validate")] + "; or ".join(meant)
        message += f" (given: {given[1]})" if given and "Got value" not in meant[-1] else ""
    message = re.sub(r"Expected an? typing\.Literal\[([^\]]*)\]", r"expected one of \1", message)
    message = re.sub(r"<class '(?:[\w.]+\.)?(\w+)'>", r"\1", message)
    message = re.sub(r'Parser key "([^"]+)":', r"--\1:", message)
    message = one_line(message).rstrip(".")
    return message if len(message) <= LONGEST else message[: LONGEST - 3] + "..."


def _in_chain(error: BaseException | None, kind: type[UserError]) -> UserError | None:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error
