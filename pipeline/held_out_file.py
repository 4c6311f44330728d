"""held_out.safetensors of a bundle: held-out rows. Knows no model.

They are `logits` (n, C) float16, `labels` (n,) int32 and `weights` (n,) float32. Older bundles call the labels
`targets` and have no weights, which are then 1.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..balance import HeldOutRows
from ..common import UserError
from .bundle_files import FIT_AGAIN


def save_rows(rows: HeldOutRows, path: Path) -> None:
    """Write the file."""
    save_file({name: getattr(rows, name).contiguous() for name in ("logits", "labels", "weights")}, path)


def load_rows(path: Path, topics: int) -> HeldOutRows:
    """Read the file of a system with this number of topics.

    Raises:
        UserError: If it is not such a file, or does not fit the topics.
    """
    try:
        found = load_file(path)
        labels = found["labels" if "labels" in found else "targets"].int()
        weights = found.get("weights", torch.ones(len(labels))).float()
        rows = HeldOutRows(found["logits"].half(), labels, weights)
    except (SafetensorError, OSError, KeyError) as error:
        raise UserError(f"{path} has no held-out rows ({error}); {FIT_AGAIN}") from error
    except UserError as error:
        raise UserError(f"{path}: {error}; {FIT_AGAIN}") from error
    if rows.logits.shape[1] != topics:
        raise UserError(f"{path} has {rows.logits.shape[1]} topics instead of {topics}; {FIT_AGAIN}")
    return rows
