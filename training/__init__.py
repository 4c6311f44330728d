"""unskew.training: what the trainings of both stages share; knows Lightning and tokenizers, neither stage."""

from .backbone import ScratchSettings
from .batching import TokenBudgetBatches, group_by_length
from .phase import PhaseModule, PhaseSettings
from .runner import RunOptions, run
from .tokenizing import encode_user_text, train_tokenizer

__all__ = [
    "PhaseModule",
    "PhaseSettings",
    "RunOptions",
    "ScratchSettings",
    "TokenBudgetBatches",
    "encode_user_text",
    "group_by_length",
    "run",
    "train_tokenizer",
]
