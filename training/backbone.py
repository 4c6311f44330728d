"""The size of a small model trained from scratch. Knows no architecture: each stage builds its own."""

from dataclasses import dataclass

from ..corpus.errors import UserError


@dataclass(frozen=True)
class ScratchSettings:
    """Size of a model that starts from random weights, for corpora too peculiar or machines too small for a base.

    Attributes:
        layers: Transformer blocks.
        width: Hidden size; must be a multiple of `heads`.
        heads: Attention heads.
        vocabulary: At most this many tokens in the tokenizer trained with it.
    """

    layers: int = 2
    width: int = 128
    heads: int = 4
    vocabulary: int = 4000

    def __post_init__(self) -> None:
        sizes = {"layers": self.layers, "width": self.width, "heads": self.heads}
        problems = [f"{name} is {size}, must be positive" for name, size in sizes.items() if size < 1]
        if not problems and self.width % (2 * self.heads):
            problems.append(f"width {self.width} is not an even multiple of heads {self.heads}")
        if self.vocabulary < 300:
            problems.append(f"vocabulary is {self.vocabulary}, must be at least 300 (256 bytes and the marks)")
        if problems:
            raise UserError("scratch model: " + "; ".join(problems))
