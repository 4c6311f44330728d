"""HTML pages in one style, light and dark, that make no network requests. Knows no figures.

A page's Content-Security-Policy forbids every request. It allows one script by its hash, so a user's text cannot add
another.
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
    """Render a Jinja template; it also gets `style`, `script` and `script_hash`.

    Args:
        template: The template file.
        style: CSS to add to the style of every page.
        script: The page's only JavaScript.
        values: Values for the template; HTML in them is escaped.
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
    """Plain values; characters that HTML, SVG or UTF-8 cannot contain become U+FFFD."""
    if isinstance(value, str):
        return _UNPRINTABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {page_values(key): page_values(its) for key, its in value.items()}
    if isinstance(value, list | tuple):
        return [page_values(its) for its in value]
    return value


def _colours() -> str:
    """The CSS custom properties of pictures and pages, for light and dark screens."""
    light = "".join(f"--{name}:{light};" for name, (light, _) in COLOURS.items())
    dark = "".join(f"--{name}:{dark};" for name, (_, dark) in COLOURS.items())
    return f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
