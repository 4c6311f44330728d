"""A kill at a chosen write, without losing the process that looks at what is left."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class KilledError(BaseException):
    """Not an `Exception`: nothing may catch it and go on."""


@contextmanager
def killed_after(survived: int) -> Iterator[None]:
    """`os.replace` works so many times; the next one is the kill."""
    replace, left = os.replace, survived

    def replace_or_die(*names):
        nonlocal left
        left -= 1
        if left < 0:
            raise KilledError
        replace(*names)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replace_or_die)
        yield
