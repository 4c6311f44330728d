"""Pages of HTML in one style, light and dark, that ask nothing of any network. Knows no figures.

A page's policy (Content-Security-Policy) forbids it every request; the one script that may run is known by its hash, so
that no text of a user's can bring another.
"""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .colours import COLOURS

_STYLE = Path(__file__).with_name("page.css")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def render_page(template: Path, *, style: str = "", script: str = "", **values: Any) -> str:
    """The page that a Jinja template makes of values; the template has `style`, `script` and `script_hash` besides.

    Args:
        template: A file.
        style: CSS after that of every page.
        script: The page's only JavaScript.
        values: What the template is filled with; HTML in them is escaped.
    """
    loader = FileSystemLoader(template.parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template(template.name).render(
        style=Markup(_STYLE.read_text("utf-8") + style + _colours()),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **values,
    )


def page_values(value: Any) -> Any:
    """Plain values with every character that HTML, SVG or UTF-8 cannot hold replaced by U+FFFD."""
    if isinstance(value, str):
        return _UNPRINTABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {page_values(key): page_values(its) for key, its in value.items()}
    if isinstance(value, list | tuple):
        return [page_values(its) for its in value]
    return value


def _colours() -> str:
    """The custom properties that pictures and page share, for light and for dark."""
    light = "".join(f"--{name}:{light};" for name, (light, _) in COLOURS.items())
    dark = "".join(f"--{name}:{dark};" for name, (_, dark) in COLOURS.items())
    return f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
