"""The help of a command, made from its function and settings. Knows signatures and docstrings alone.

jsonargparse prints every field of every nested setting, so it explains a loss five times if five options take one.
Here a setting that several options take is explained once, at the end, and the most used options come first.
"""

import inspect
import shutil
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from docstring_parser import parse as parse_docstring

from .settings_argument import NAME, settings_of

COLUMN = 30  # column where explanations begin
WIDEST = 118
_TITLES = {
    "ArmSettings": "an arm",
    "LossSettings": "a loss",
    "PhaseSettings": "a phase",
    "ScratchSettings": "a model from scratch",
}


@dataclass(frozen=True)
class Option:
    """One option: its dotted name, its type, its default and its explanation."""

    name: str
    hint: Any
    default: Any
    text: str

    @property
    def shape(self) -> type | None:
        """The dataclass that the option takes, if it takes one."""
        return next((kind for kind in (self.hint, *get_args(self.hint)) if is_dataclass(kind)), None)  # pyright: ignore[reportReturnType]

    def line(self) -> str:
        """The option and its explanation, wrapped."""
        return _columns(
            self.name if self.name.startswith(".") else f"--{self.name}", f"{self.text}{self._note()}".strip()
        )

    def _note(self) -> str:
        if self.default is inspect.Parameter.empty:
            return " (required)"
        choices = "" if get_origin(self.hint) is not Literal else f"one of {', '.join(map(str, get_args(self.hint)))}"
        silent = self.default is None or self.default is False or self.default == {} or is_dataclass(self.default)
        usual = "" if silent else f"default {self.default}"
        notes = "; ".join(note for note in (choices, usual) if note)
        return f" ({notes})" if notes else ""


def help_text(command: str, summary: str, function: Callable[..., int], most_used: tuple[str, ...]) -> str:
    """What `unskew COMMAND --help` prints.

    Args:
        command: Its name.
        summary: One line on what it does.
        function: Its arguments are the options.
        most_used: Dotted names of the options to show first.
    """
    groups = list(_groups(function))
    everything = {option.name: option for _, options in groups for option in options}
    required = " ".join(f"--{o.name} ..." for o in everything.values() if o.default is inspect.Parameter.empty)
    lines = [f"usage: unskew {command} {required} [--option VALUE ...] [--config FILE]", "", f"{summary.capitalize()}."]
    if most_used:
        lines += ["", "most used:", *(everything[name].line() for name in most_used)]
    for title, options in groups:
        rest = [option.line() for option in options if option.name not in most_used]
        lines += ["", f"{title}:", *rest] if rest else []
    lines += ["", "in every command:"]
    lines.append(_columns("--config", "A YAML file of these options; options after it win."))
    lines.append(_columns("--print_config", "Print all options as they would be used, and exit."))
    for shape, takers in _shared(groups).items():
        lines += ["", f"{_title(shape)} ({', '.join('--' + taker.name for taker in takers)}) has:"]
        lines += [option.line() for option in _alike(shape, takers)]
    return "\n".join(lines) + "\n"


def _groups(function: Callable[..., int]) -> Iterator[tuple[str, list[Option]]]:
    """Options by section: first the function's own, then those of each setting that only one option takes."""
    own = list(_own(function))
    shapes = Counter(option.shape for option in _deep(own) if option.shape)
    shapes.update(
        [option.shape for option in own if option.shape and get_origin(option.hint) is dict]
    )  # dictionaries of settings are not options
    yield "options", [option for option in own if not option.shape or shapes[option.shape] > 1]
    for option in own:
        if option.shape and shapes[option.shape] == 1:
            yield from _sections(option, shapes)


def _own(function: Callable[..., int]) -> Iterator[Option]:
    explained, hints, shape = _explanations(function), get_type_hints(function), settings_of(function)
    for name, parameter in inspect.signature(function).parameters.items():
        if name == NAME and shape is not None:
            yield from _fields(shape, "")
        else:
            yield Option(name, hints[name], parameter.default, explained.get(name, ""))


def _sections(option: Option, shapes: Counter[Any]) -> Iterator[tuple[str, list[Option]]]:
    assert option.shape
    inside = list(_fields(option.shape, f"{option.name}.", option.default))
    alone = [field for field in inside if field.shape and shapes[field.shape] == 1]
    yield option.text.rstrip(".") or option.name, [field for field in inside if field not in alone]
    for field in alone:
        yield from _sections(field, shapes)


def _deep(options: list[Option]) -> Iterator[Option]:
    for option in options:
        yield option
        if option.shape:
            yield from _deep(list(_fields(option.shape, "")))


def _fields(shape: type, prefix: str, given: Any = None) -> Iterator[Option]:
    """The fields of settings as options, with the defaults of `given`, if it is such settings."""
    explained, hints = _explanations(shape), get_type_hints(shape)
    for field in fields(shape):
        default = field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        elif default is MISSING:
            default = inspect.Parameter.empty
        if isinstance(given, shape):
            default = getattr(given, field.name)
        yield Option(prefix + field.name, hints[field.name], default, explained.get(field.name, ""))


def _shared(groups: list[tuple[str, list[Option]]]) -> dict[type, list[Option]]:
    """The settings that several options take, with these options."""
    found: dict[type, list[Option]] = {}
    for _, options in groups:
        for option in options:
            if option.shape:
                found.setdefault(option.shape, []).append(option)
    return found


def _alike(shape: type, takers: list[Option]) -> Iterator[Option]:
    """The fields of settings that several options take; a default says whose it is where theirs differ."""
    for same in zip(*(_fields(shape, ".", taker.default) for taker in takers), strict=True):
        if len({repr(field.default) for field in same}) == 1:
            yield same[0]
        else:
            own = zip(takers, same, strict=True)
            yield replace(same[0], default=", ".join(f"{field.default} in {taker.name}" for taker, field in own))


def _explanations(documented: Any) -> dict[str, str]:
    return {
        p.arg_name: " ".join((p.description or "").split()) for p in parse_docstring(documented.__doc__ or "").params
    }


def _title(shape: type) -> str:
    return _TITLES.get(shape.__name__, shape.__name__)


def _columns(option: str, text: str) -> str:
    width = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
    wrapped = textwrap.wrap(text, max(40, width - COLUMN))
    option = f"  {option}"
    first = f"{option:<{COLUMN}}" if len(option) < COLUMN - 1 else f"{option}\n{'':<{COLUMN}}"
    return (first + f"\n{'':<{COLUMN}}".join(wrapped or [""])).rstrip()
