"""One fit at a time in a process. Knows threads; knows nothing of what is fitted.

Weights, order and dropout come from torch's random state, which all threads of a process share. With two fits at once,
neither would get the weights of its seed.
"""

from collections.abc import Generator
from contextlib import contextmanager
from threading import RLock

from ..runtime import refuse_after_fork

_FITTING = RLock()


@contextmanager
def one_fit_at_a_time() -> Generator[None]:
    """Wait until no other thread fits, and make others wait while the block runs. Blocks of one thread may nest.

    Raises:
        UserError: In a fork of a process that has used a model.
    """
    refuse_after_fork()
    with _FITTING:
        yield
