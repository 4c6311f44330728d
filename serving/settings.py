"""The user's options for serving, checked. Loads no library and starts nothing."""

import math
from dataclasses import dataclass
from typing import Literal

from ..common import UserError

Stage = Literal["both", "encoder"]


@dataclass(frozen=True)
class ServingLimits:
    """Limits of a server; it refuses what exceeds them.

    Attributes:
        rows: Largest number of texts in one request.
        body_mb: Largest body of a request, in megabytes.
        waiting: Largest number of unanswered texts of a model; a request that would exceed it is refused (503).
        seconds: Time limit of a request in seconds; also the limit for a client to send its body, or to read a part of
            the answer.
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
