"""The argument `settings` of a command's function, each of whose fields is an option. Parses nothing.

So an option and its explanation are written once for Python and the command line.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_type_hints

NAME = "settings"


def settings_of(function: Callable[..., int]) -> type | None:
    """The dataclass that the function takes as `settings`; None if it takes none."""
    return get_type_hints(function).get(NAME)


def gathered(function: Callable[..., int], options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a command's function: `options`, with the fields of its settings gathered into one object.

    Raises:
        UserError: If the settings refuse them.
    """
    shape = settings_of(function)
    if shape is None:
        return options
    names = [field.name for field in fields(shape)]
    others = {name: value for name, value in options.items() if name not in names}
    return {**others, NAME: shape(**{name: options[name] for name in names})}
