"""A fitted topic classifier with fast logits, saved as a plain transformers folder. Knows no training."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..common import UserError, first_line
from ..runtime import (
    TextTokenizer,
    Usage,
    check_finite,
    in_batches,
    is_quantized,
    prepack_linears,
    refuse_after_fork,
    to_precision,
)
from .first_token import read_first_token_alone
from .output_layer import output_layer, without_output_layer
from .padding import check_padding
from .reading import longest_text, read_classifier
from .tokens import pad, pad_id_of, tokenize

log = logging.getLogger("unskew")

CPU_TOKENS = 1024  # more would only add padding; the cores are already busy
GPU_TOKENS = 65_536


class TopicEncoder:
    """From texts to logits over topics. Threads may share it; a fork of a process that has used a model may not use it.

    Args:
        model: Sequence classifier whose `config.id2label` names the topics; it is put into evaluation mode.
        tokenizer: Tokenizer of the model.
        max_tokens: Most tokens of a text that are read.

    Attributes:
        usage: Rows, tokens and seconds so far.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self._reader = TextTokenizer.private(tokenizer)
        self.usage = Usage()

    @property
    def topics(self) -> tuple[str, ...]:
        """Topic names, in the order of the logits."""
        names: dict[Any, str] = dict(self.model.config.id2label or {})
        return tuple(names[index] for index in sorted(names))

    @torch.inference_mode()
    def logits(
        self,
        texts: Sequence[str],
        tokens_per_batch: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> torch.Tensor:
        """Float32 logits (n, C) on the CPU, in the order of `texts`.

        Args:
            texts: Any strings; a control string in one is plain text.
            tokens_per_batch: Most padded tokens in a batch, halved if memory runs out; None chooses by the device.
            progress: Function called after each batch with the number of texts done.

        Raises:
            UserError: In a fork of a process that has used a model, where torch would hang.
        """
        with self.usage.timed():
            return self._outputs(self.model, texts, len(self.topics), tokens_per_batch, progress)

    @torch.inference_mode()
    def features(
        self,
        texts: Sequence[str],
        tokens_per_batch: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> torch.Tensor:
        """Inputs of the last layer, float32 (n, d) on the CPU, in the order of `texts`. Arguments as in `logits`."""
        width = output_layer(self.model)[1].in_features
        return self._outputs(without_output_layer(self.model), texts, width, tokens_per_batch, progress)

    def _outputs(
        self,
        model: PreTrainedModel,
        texts: Sequence[str],
        width: int,
        tokens_per_batch: int | None,
        progress: Callable[[int], None] | None,
    ) -> torch.Tensor:
        refuse_after_fork()
        device = self.model.device
        budget = tokens_per_batch or (CPU_TOKENS if device.type == "cpu" else GPU_TOKENS)
        rows = tokenize(self._reader, texts, self.max_tokens)
        result = torch.empty(len(rows), width)

        def work(batch: list[int]) -> torch.Tensor:
            inputs = pad((rows[i] for i in batch), pad_id_of(self.tokenizer))
            output = model(**{name: tensor.to(device) for name, tensor in inputs.items()})
            return output.logits.float().cpu()

        for batch, outputs in in_batches([len(row) for row in rows], budget, work):
            result[batch] = outputs
            if progress is not None:
                progress(len(batch))
        self.usage.add(len(rows), sum(map(len, rows)))
        return result

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens read of each text, special tokens included."""
        return [len(row) for row in tokenize(self._reader, texts, self.max_tokens)]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write model and tokenizer as transformers does (safetensors), so that plain transformers loads the folder.

        Raises:
            UserError: If a weight is not finite, or weights have been rounded to int8.
        """
        if is_quantized(self.model):
            raise UserError("an int8 encoder cannot be saved; load it in another precision and save that")
        check_finite(self.model, "the encoder cannot be saved", "fit again with a smaller learning rate")
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        int8: bool = False,
    ) -> "TopicEncoder":
        """Read a folder of `save_pretrained`, or any sequence classifier in that layout, without running code from it.

        Texts are read up to the limits of the tokenizer and of the model's positions, or 512 tokens if there are none.

        Args:
            folder: Folder.
            device: Device of the model.
            dtype: Data type of the weights.
            int8: Whether linear layers are rounded to int8, on a CPU; such an encoder cannot be saved.

        Raises:
            UserError: If the folder is missing, truncated or not a classifier's, a weight is not finite, or padding
                changes the classifier's outputs.
        """
        try:
            model, tokenizer, missing = read_classifier(folder, dtype)
            if dtype == torch.float32:  # with less precision, rounding is too coarse to tell
                check_padding(model, tokenizer, str(folder))
        except UserError:
            raise
        except Exception as error:
            reason = first_line(error)
            raise UserError(f"encoder folder {folder} cannot be loaded ({reason}): restore or refit it") from error
        if missing:
            log.warning("%s has no classifier's head: a random one is used, so its topics are meaningless", folder)
        model.to(device)  # pyright: ignore[reportArgumentType]
        longest = longest_text(model, tokenizer)
        if int8:
            to_precision(model, "int8")
        prepack_linears(model)
        read_first_token_alone(model)
        return cls(model, tokenizer, longest)
