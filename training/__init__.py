"""unskew.training: what the trainings of both stages share; knows Lightning and tokenizers, neither stage."""

from .backbone import ScratchSettings
from .batching import RowIndices, TokenBudgetBatches, group_by_length
from .memory import free_bytes, in_batches
from .packed import pack_linears
from .phase import PhaseModule, PhaseSettings
from .precision import Precision, choose_precision, is_quantized, to_precision
from .runner import RunOptions, run
from .tokenizing import encode_user_text, train_tokenizer

__all__ = [
    "PhaseModule",
    "PhaseSettings",
    "Precision",
    "RowIndices",
    "RunOptions",
    "ScratchSettings",
    "TokenBudgetBatches",
    "choose_precision",
    "encode_user_text",
    "free_bytes",
    "group_by_length",
    "in_batches",
    "is_quantized",
    "pack_linears",
    "run",
    "to_precision",
    "train_tokenizer",
]
