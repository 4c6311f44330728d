"""`unskew newsroom`: its options. It makes the synthetic corpus and knows no model."""

from ..common import output_folder, refuse_existing
from ..corpus import write_newsroom


def command(
    output: str,
    difficulty: float = 0.5,
    seed: int = 0,
    flip_rate: float = 0.3,
    ratio: float = 100.0,
    overwrite: bool = False,
) -> int:
    """Make the synthetic corpus.

    Args:
        output: Folder to write.
        difficulty: 0 to 1: how much the topics' vocabularies overlap.
        seed: Random seed.
        flip_rate: Share of wrong topics in the noisy set.
        ratio: Most frequent to rarest topic of the clean set.
        overwrite: Replace an existing newsroom.
    """
    folder = output_folder(output)
    refuse_existing(folder, overwrite, "newsroom.json")
    write_newsroom(folder, difficulty=difficulty, seed=seed, flip_rate=flip_rate, ratio=ratio)
    print(f"written: {folder}/train.jsonl, noisy.jsonl, test.jsonl, test_natural.jsonl, newsroom.json")
    return 0
