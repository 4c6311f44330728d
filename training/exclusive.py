"""One fit at a time in a process. Knows threads; knows nothing of what is fitted.

Weights, order and dropout come from torch's random state, which all threads of a process share: of two fits at once
neither would end with the weights that its seed stands for.
"""

from collections.abc import Generator
from contextlib import contextmanager
from threading import RLock

from ..runtime import refuse_after_fork

_FITTING = RLock()


@contextmanager
def one_fit_at_a_time() -> Generator[None]:
    """Wait until no other thread fits, and have others wait while the block runs; blocks of a thread may nest.

    Raises:
        UserError: In a fork of a process that has used a model.
    """
    refuse_after_fork()
    with _FITTING:
        yield
