"""The page at /: one file, and the policy that lets it connect to this server only. Knows no model.

The policy allows one script by its hash, so a user's text cannot add another.
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
    """The page's Content-Security-Policy."""
    script = page().partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
