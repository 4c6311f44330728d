from .batching import RowIndices, TokenBudgetBatches, group_by_length
from .finite import check_finite
from .forking import refuse_after_fork
from .int8 import int8_input_max
from .memory import copy_from_mmap, free_bytes, in_batches, is_out_of_memory
from .precision import choose_precision, has_bfloat16, is_quantized, is_slow_bfloat16, to_precision
from .prepacked import prepack_linears
from .pretrained import (
    embedding_matrices,
    grow_embedding,
    logits_agree,
    plausible_limit,
    positions,
    read_config,
    read_model,
    read_tokenizer,
    refuse_missing,
)
from .settings import Precision
from .text_tokenizer import TextTokenizer
from .tokenizing import encode_user_text, read_prefixes, train_tokenizer
from .usage import Usage
from .weights import weights_of

__all__ = [
    "Precision",
    "RowIndices",
    "TextTokenizer",
    "TokenBudgetBatches",
    "Usage",
    "check_finite",
    "choose_precision",
    "embedding_matrices",
    "encode_user_text",
    "free_bytes",
    "group_by_length",
    "has_bfloat16",
    "grow_embedding",
    "in_batches",
    "is_out_of_memory",
    "is_quantized",
    "is_slow_bfloat16",
    "int8_input_max",
    "copy_from_mmap",
    "prepack_linears",
    "positions",
    "read_config",
    "read_model",
    "read_prefixes",
    "read_tokenizer",
    "refuse_after_fork",
    "refuse_missing",
    "logits_agree",
    "plausible_limit",
    "to_precision",
    "train_tokenizer",
    "weights_of",
]
