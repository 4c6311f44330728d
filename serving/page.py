"""The page at /: one file, and the policy that forbids it any network but this server. Knows no model.

The one script that may run is known by its hash, so that no text of a user's can bring another.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path

_PAGE = Path(__file__).with_name("page.html")


@cache
def page() -> str:
    """The page as HTML."""
    return _PAGE.read_text("utf-8")


@cache
def policy() -> str:
    """Its Content-Security-Policy."""
    script = page().partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
