"""A fitted topic classifier: fast logits for texts, saved as a plain transformers folder. Knows no training."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..common import UserError, first_line
from ..runtime import TextTokenizer, Usage, check_finite, in_batches, prepack_linears, refuse_after_fork
from .output_layer import output_layer, without_output_layer
from .padding import check_padding
from .reading import longest_text, read_classifier
from .tokens import pad, pad_id_of, tokenize

log = logging.getLogger("unskew")

CPU_TOKENS = 2048  # more only adds padding: the cores are busy already
GPU_TOKENS = 65_536


class TopicEncoder:
    """Texts to logits over topics. Threads may share one; a fork of a process that has used a model may not.

    Args:
        model: A sequence classifier whose `config.id2label` names the topics; put into evaluation mode.
        tokenizer: Its tokenizer.
        max_tokens: Texts are read up to this many tokens.

    Attributes:
        usage: What it has done so far.
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
            tokens_per_batch: Budget of padded tokens, halved where it is too much for the memory; None chooses by the
                device.
            progress: Called with the number of texts done after each batch.

        Raises:
            UserError: In a fork of a process that has used a model, where torch would wait for ever.
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
        """What goes into the last layer: float32 (n, d) on the CPU, in the order of `texts`; otherwise as `logits`."""
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
        """How many tokens of each text are read, the model's own special ones included."""
        return [len(row) for row in tokenize(self._reader, texts, self.max_tokens)]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write model and tokenizer as transformers does (safetensors); plain transformers loads the folder.

        Raises:
            UserError: If a weight is not finite.
        """
        check_finite(self.model, "the encoder cannot be saved", "fit again with a smaller learning rate")
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> "TopicEncoder":
        """Read what `save_pretrained` wrote, or any sequence classifier in that layout; no code of its own is run.

        Texts are read up to the tokenizer's limit and the model's positions, where they have none to 512 tokens.

        Raises:
            UserError: If the folder is missing, truncated, or not a classifier's, has weights that are not finite, or
                the classifier says something else of a text when a longer one is beside it.
        """
        try:
            model, tokenizer, missing = read_classifier(folder, dtype)
            if dtype == torch.float32:  # in less, rounding is too coarse to tell
                check_padding(model, tokenizer, str(folder))
        except UserError:
            raise
        except Exception as error:
            reason = first_line(error)
            raise UserError(f"encoder folder {folder} cannot be loaded ({reason}): restore or refit it") from error
        if missing:
            log.warning("%s has no classifier's head: a random one stands in, and its topics mean nothing", folder)
        model.to(device)  # pyright: ignore[reportArgumentType]
        longest = longest_text(model, tokenizer)
        prepack_linears(model)
        return cls(model, tokenizer, longest)
