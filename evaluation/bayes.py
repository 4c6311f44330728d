"""The best that any classifier can do on synthetic rows. Knows the newsroom's exact posterior, and no model."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from ..common import UserError
from ..corpus import Newsroom


def bayes_posterior(
    path: str | Path, texts: Sequence[str], names: Sequence[str], prior: Sequence[float] | None = None
) -> torch.Tensor:
    """The exact P(topic | text) of newsroom rows, (n, C), float64.

    Args:
        path: The newsroom.json beside the rows.
        texts: Texts of the rows.
        names: The topics, in the order of the columns.
        prior: Prior of the topics in that order; uniform unless given.

    Raises:
        UserError: If the file does not describe a newsroom, or its topics are not `names`.
    """
    try:
        made = json.loads(Path(path).read_text("utf-8"))
        room = Newsroom(made["difficulty"], made["seed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a newsroom.json ({error}); give the one beside the newsroom's rows") from error
    if set(room.topics) != set(names):
        raise UserError(f"{path}: the newsroom's topics differ from those of these rows; leave --newsroom out")
    share = dict(zip(names, prior or [1.0] * len(names), strict=True))
    posterior = torch.as_tensor(room.posterior(texts, [share[name] for name in room.topics]))
    return posterior[:, [room.topics.index(name) for name in names]]
