"""held_out.safetensors of a bundle: `logits` (n, C) float16 and `labels` (n,) int32 of held-out rows. Knows no model.

Bundles of 0.1.0 call the labels `targets`.
"""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..balance import HeldOutRows
from ..common import UserError
from .bundle_files import FIT_AGAIN


def save_rows(rows: HeldOutRows, path: Path) -> None:
    """Write the file."""
    save_file({"logits": rows.logits.contiguous(), "labels": rows.labels.contiguous()}, path)


def load_rows(path: Path, topics: int) -> HeldOutRows:
    """Read the file of a system with this number of topics.

    Raises:
        UserError: If it is not such a file, or does not fit the topics.
    """
    try:
        found = load_file(path)
        rows = HeldOutRows(found["logits"].half(), found["labels" if "labels" in found else "targets"].int())
    except (SafetensorError, OSError, KeyError) as error:
        raise UserError(f"{path} has no held-out rows ({error}); {FIT_AGAIN}") from error
    except UserError as error:
        raise UserError(f"{path}: {error}; {FIT_AGAIN}") from error
    if rows.logits.shape[1] != topics:
        raise UserError(f"{path} has {rows.logits.shape[1]} topics instead of {topics}; {FIT_AGAIN}")
    return rows
