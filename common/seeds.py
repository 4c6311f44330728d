"""The bounds of a random seed. Knows no generator."""

from .errors import UserError

LARGEST_SEED = 2**32 - 1  # NumPy's, which a fit seeds beside torch


def check_seed(seed: int, name: str = "seed") -> None:
    """Raise a `UserError` if not all generators take a seed; `name` is what the user calls it."""
    if not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"{name} is {seed}, must be between 0 and {LARGEST_SEED}")
