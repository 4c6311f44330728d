"""Turns an error of the parser into one line: what is wrong and, for an unknown option, the nearest names.

Knows the parser's messages and the types of a command's options; parses nothing.
"""

import difflib
import re
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from ..common import UserError, one_line
from .settings_argument import NAME

LONGEST = 400
MOST = 2**63 - 1  # integers in the libraries have 64 bits
_GIVEN = "Given value: "
# Lines of the parser that do not say what is wrong.
_AROUND = (
    "Does not validate against",
    "Subtypes:",
    "Errors:",
    "Given value type:",
    f"{_GIVEN}NestedArg",
    f"{_GIVEN}Namespace",
    "Problem with given class_path",
    "Expected a <class 'NoneType'>",
)


def as_user_error(error: BaseException, command: str, function: Callable[..., int]) -> UserError | None:
    """A UserError made from an exception of the parser; None if the user made no mistake."""
    own = _in_chain(error, UserError)
    if own is not None:
        return own
    option, reason = _innermost(str(error))
    unknown = _unknown_option(reason)
    if unknown:
        name = unknown if not option or unknown.startswith(f"{option}.") else f"{option}.{unknown}"
        return UserError(f"there is no option --{name}; {_nearest(name, command, function)}")
    if type(error).__name__ != "ArgumentError":
        return None
    where = f"--{option}: " if option else ""
    return UserError(f"{where}{_in_words(reason, option)}; unskew {command} --help explains the options")


def refuse_huge(options: Iterable[tuple[str, Any]]) -> None:
    """Raise a UserError with the option's name if a number is too large for the libraries."""
    for name, value in options:
        numbers = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(number, int) and abs(number) > MOST for number in numbers):
            raise UserError(f"--{name} is {value}; give a smaller number, {MOST:.2g} at most")


def option_names(function: Callable[..., int]) -> list[str]:
    """The full names of a command's options, including those inside optional settings."""
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


def _unknown_option(reason: str) -> str | None:
    found = re.search(r"unrecognized arguments: --([^\s=]+)", reason)
    if found:
        return found[1]
    found = re.search(r"Group '([^']+)' does not accept option '([^']+)'", reason)
    if found:
        return f"{found[1]}.{found[2]}"
    found = re.search(r"(?:[Oo]ption '([^']+)' is not accepted|Key '([^']+)' is not expected)", reason)
    return found and (found[1] or found[2])


def _innermost(message: str) -> tuple[str, str]:
    """The option that a message is about, and its mistake; the parser repeats both for each enclosing setting.

    Of the types that the parser tried, only those that the user may have meant are kept.
    """
    path: list[tuple[int, str]] = []
    reasons: list[tuple[tuple[str, ...], str]] = []
    begun = False
    for line in message.splitlines():
        text = line.strip().removeprefix("- ")
        key = re.match(r'Parser key "([^"]+)":\s*(.*)', text)
        if key:
            indent = line.find(text)
            outer = [(column, name) for column, name in path if column < indent]
            path = outer if outer and outer[-1][1] == key[1] else [*outer, (indent, key[1])]
            text = key[2]
        names = tuple(name for _, name in path)
        if not text or text.startswith(_AROUND):
            begun = False
        elif begun and not key and not line.strip().startswith("- ") and not text.startswith(_GIVEN):
            reasons[-1] = names, f"{reasons[-1][1]} {text}"
        else:
            begun = True
            reasons.append((names, text))
    names = max((names for names, _ in reasons), key=len, default=())
    inmost = [text for its, text in reasons if its == names]
    given = "".join(f" (given: {text.removeprefix(_GIVEN)})" for text in inmost if text.startswith(_GIVEN))
    return ".".join(names), "; or ".join(text for text in inmost if not text.startswith(_GIVEN)) + given


def _in_words(reason: str, option: str) -> str:
    """The parser's reason on one line, with or without an option."""
    reason = re.sub(r"Expected an? typing\.Literal\[([^\]]*)\]", r"expected one of \1", reason)
    reason = re.sub(r"<class '(?:[\w.]+\.)?(\w+)'>", r"\1", reason)
    reason = re.sub(r"\ba int\b", "an int", reason)
    reason = re.sub(r"Expected a dot import path string: .*", "expected settings such as {name: value}", reason)
    required = re.search(r"the following arguments are required: (.*)", reason)
    if required:
        names = (f"--{option}.{name}" if option else f"--{name}" for name in required[1].split(", "))
        reason = f"{', '.join(names)} must be given"
    reason = one_line(reason).rstrip(".")
    return reason if len(reason) <= LONGEST else reason[: LONGEST - 3] + "..."


def _in_chain(error: BaseException | None, kind: type[UserError]) -> UserError | None:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error
