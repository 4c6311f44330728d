"""The command that makes the synthetic corpus. Knows no model, and so starts at once."""

from pathlib import Path

from ..corpus.newsroom_files import write_newsroom
from .places import refuse_existing


def newsroom(output: str, difficulty: float = 0.5, seed: int = 0, overwrite: bool = False) -> int:
    """Make the synthetic corpus.

    Args:
        output: The folder to write.
        difficulty: 0 to 1: how much the topics' vocabularies overlap.
        seed: Of everything random.
        overwrite: Replace what stands there.
    """
    refuse_existing(Path(output), overwrite)
    write_newsroom(output, difficulty=difficulty, seed=seed)
    print(f"written: {output}/train.jsonl, noisy.jsonl, test.jsonl, test_natural.jsonl, newsroom.json")
    return 0
