"""Trains rows of an embedding without a copy of the matrix: a faster form of PEFT's layer. Knows PEFT's layer alone.

In every pass PEFT writes the rows into a copy of the whole matrix and computes the gradient of all of it, although only
a dozen of 49,000 rows are trained. Here the rows are kept beside the frozen matrix. The results are the same.
"""

from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.trainable_tokens.layer import TrainableTokensLayer
from torch import Tensor, nn


class RowsBeside(TrainableTokensLayer):
    """The results of PEFT's layer, from the frozen matrix and the trained rows."""

    def forward_adapters(self, x: Tensor, active_adapters: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Rows (..., D) of token ids; for a tied output matrix, logits (..., V) of hidden states."""
        if self.disable_adapters or self.merged or len(active_adapters) != 1:
            return super().forward_adapters(x, active_adapters, *args, **kwargs)
        (name,) = active_adapters
        rows = self.trainable_tokens_delta[name]
        ids = torch.tensor(self.token_indices[name], device=x.device)
        return self._embed(x, ids, rows) if isinstance(self.base_layer, nn.Embedding) else self._score(x, ids, rows)

    def _embed(self, tokens: Tensor, ids: Tensor, rows: Tensor) -> Tensor:
        found = self.base_layer(tokens)
        scale = self._get_embed_scale()
        rows = (rows if scale is None else rows * scale).to(found.dtype)
        same = tokens[..., None] == ids
        return torch.where(same.any(dim=-1, keepdim=True), rows[same.long().argmax(dim=-1)], found)

    def _score(self, hidden: Tensor, ids: Tensor, rows: Tensor) -> Tensor:
        weight: Any = self.base_layer.weight
        return F.linear(hidden, weight).index_copy_(-1, ids, F.linear(hidden, rows.to(weight.dtype)))


def use_rows_beside(model: nn.Module) -> None:
    """Replace PEFT's layers by `RowsBeside`, in place; names and weights stay the same."""
    for module in model.modules():
        if type(module) is TrainableTokensLayer:
            module.__class__ = RowsBeside
