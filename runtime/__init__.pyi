from .batching import RowIndices, TokenBudgetBatches, group_by_length
from .forking import refuse_after_fork
from .memory import free_bytes, in_batches
from .precision import choose_precision, is_quantized, to_precision
from .prepacked import pack_linears
from .settings import Precision
from .text_tokenizer import TextTokenizer
from .tokenizing import encode_user_text, train_tokenizer

__all__ = [
    "Precision",
    "RowIndices",
    "TextTokenizer",
    "TokenBudgetBatches",
    "choose_precision",
    "encode_user_text",
    "free_bytes",
    "group_by_length",
    "in_batches",
    "is_quantized",
    "pack_linears",
    "refuse_after_fork",
    "to_precision",
    "train_tokenizer",
]
