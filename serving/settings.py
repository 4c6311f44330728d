"""What a user chooses about serving, checked. Loads no library and starts nothing."""

import math
from dataclasses import dataclass
from typing import Literal

from ..common import UserError

Stage = Literal["both", "encoder"]


@dataclass(frozen=True)
class ServingLimits:
    """What a server takes before it refuses.

    Attributes:
        rows: Texts in one request.
        body_mb: Megabytes of a request's body.
        waiting: Texts that may wait for a model; a request that would make them more is refused (503).
        seconds: A request is ended after so long; also how long a client may take to send its body, or to read a part
            of the answer.
        drain: Seconds that running requests get to finish after a SIGTERM.
    """

    rows: int = 1000
    body_mb: float = 8.0
    waiting: int = 4000
    seconds: float = 60.0
    drain: float = 30.0

    def __post_init__(self) -> None:
        given = vars(self)
        problems = [f"{name} is {given[name]}, must be positive" for name in given if not 0 < given[name] < math.inf]
        if self.waiting < self.rows:
            problems.append(f"waiting is {self.waiting}, must be at least rows ({self.rows})")
        if problems:
            raise UserError("limits: " + "; ".join(problems))

    @property
    def body_bytes(self) -> int:
        """`body_mb` in bytes."""
        return int(self.body_mb * 1_000_000)
