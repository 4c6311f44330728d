"""A fitted decoder: writes outputs under given topics, and scores topics itself. Knows no training, no files."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from ..corpus.errors import UserError
from ..training.batching import group_by_length
from . import saving
from .adaptation import AdaptationFacts, Model
from .control import ControlTokens
from .generation import GenerationSettings, make_processors, row_key
from .prompts import Prompt
from .sequences import Sequencer, last_logits, pad_left

CPU_TOKENS = 4096
GPU_TOKENS = 65_536

Progress = Callable[[int], Any]


class TopicDecoder:
    """Texts and topics to outputs.

    Args:
        model: A causal language model, or one under a LoRA adapter; put into evaluation mode.
        tokenizer: With the control tokens.
        control: Their ids.
        prompt: Around every text, as in training.
        max_tokens: Of prompt and text together.
        max_target_tokens: Of a target in training, and so of an output.
        base: What an adapter belongs to: a hub id or folder; None for a plain model.
        base_is_ours: Whether `base` was trained here and has to be saved along.
        facts: What was trained and how large the adapter is; None where it is not known.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: PreTrainedTokenizerBase,
        control: ControlTokens,
        prompt: Prompt,
        max_tokens: int,
        *,
        max_target_tokens: int = 64,
        base: str | Path | None = None,
        base_is_ours: bool = False,
        facts: AdaptationFacts | None = None,
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.control = control
        self.prompt = prompt
        self.max_tokens = max_tokens
        self.max_target_tokens = max_target_tokens
        self.base, self.base_is_ours = base, base_is_ours
        self.facts = facts
        self._sequencer = Sequencer(tokenizer, control, prompt, max_tokens)

    @property
    def topics(self) -> tuple[str, ...]:
        """Topic names, in the order of `topic_logits`."""
        return self.control.topics

    @torch.inference_mode()
    def generate(
        self,
        texts: Sequence[str],
        topics: Sequence[str],
        options: GenerationSettings | None = None,
        fairness: bool = False,
        progress: Progress | None = None,
    ) -> list[str]:
        """One output for each text under its topic, in the order of `texts`.

        Batches are formed by length, so give many texts at once; what stands in a batch does not change an output
        (beyond floating-point ties). Control tokens are never written.

        Args:
            texts: Any strings; a control string in one is plain text.
            topics: A topic for each text.
            options: How to generate; greedily unless they say otherwise.
            fairness: Whether `<force_fairness>` precedes the topic.
            progress: Called with the number of texts done after each batch.

        Raises:
            UserError: if a topic is unknown, or the numbers of texts and topics differ.
        """
        if len(texts) != len(topics):
            raise UserError(f"{len(texts)} texts but {len(topics)} topics; give one topic for each text")
        options = options or GenerationSettings()
        if options.max_new_tokens is None:
            options = replace(options, max_new_tokens=self.max_target_tokens + 1)  # one for the end
        prompts = self._sequencer.prompts(texts, fairness)
        rows = [[*ids, self.control.topic_id(topic)] for ids, topic in zip(prompts, topics, strict=True)]
        keys = [row_key(options.seed, text, topic) for text, topic in zip(texts, topics, strict=True)]
        outputs = [""] * len(rows)
        for batch in self._batches(rows, options.tokens_per_batch, room=int(options.max_new_tokens or 0)):
            written = self._generate_batch([rows[i] for i in batch], [keys[i] for i in batch], options)
            for i, output in zip(batch, written, strict=True):
                outputs[i] = output
            if progress is not None:
                progress(len(batch))
        return outputs

    @torch.inference_mode()
    def topic_logits(
        self,
        texts: Sequence[str],
        tokens_per_batch: int | None = None,
        fairness: bool = False,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """Float32 logits (n, C) of the decoder's own choice of topic, on the CPU: one forward pass, no generation.

        Their softmax is the distribution over topic tokens alone. It means something only for a decoder trained with
        a `topic_loss`.

        Args:
            texts: Any strings.
            tokens_per_batch: Padded tokens in a batch; None chooses by the device.
            fairness: Whether `<force_fairness>` precedes the topic.
            progress: Called with the number of texts done after each batch.
        """
        rows = self._sequencer.prompts(texts, fairness)
        result = torch.empty(len(rows), len(self.topics))
        for batch in self._batches(rows, tokens_per_batch):
            logits = last_logits(self.model, self._padded([rows[i] for i in batch]), last=1)[:, 0]
            result[batch] = logits[:, list(self.control.topic_ids)].float().cpu()
            if progress is not None:
                progress(len(batch))
        return result

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the decoder in the layout of PEFT (an adapter) or transformers (a plain model), safetensors only.

        An adapter refers to a named base by its name; a base trained here is written beside it. The folder can move.
        """
        saving.save(self, Path(folder))

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        merge: bool = True,
    ) -> "TopicDecoder":
        """Read what `save_pretrained` wrote.

        Args:
            folder: The decoder's folder.
            device: Where the model goes; None takes a GPU if there is one.
            dtype: Of the weights; None is bfloat16 on a GPU and float32 on a CPU.
            merge: Fold an adapter into its base: faster, with the same outputs. Unmerged it can be saved as an adapter.

        Raises:
            UserError: if the folder is incomplete or unreadable, or the adapter's base is not where it was.
        """
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
        parts = saving.load(Path(folder), merge=merge)
        parts["model"].to(device=device, dtype=dtype)
        return cls(**parts)

    def _generate_batch(self, rows: list[list[int]], keys: list[int], options: GenerationSettings) -> list[str]:
        inputs = self._padded(rows)
        generate: Any = self.model.generate
        produced = generate(
            **inputs,
            generation_config=GenerationConfig(
                max_new_tokens=options.max_new_tokens,
                do_sample=False,  # sampling is the noise that the processors add
                num_beams=1,
                eos_token_id=self.tokenizer.eos_token_id,
                pad_token_id=self.tokenizer.pad_token_id,
            ),
            logits_processor=make_processors(options, self._suppressed, keys, self.model.device),
        )
        width = inputs["input_ids"].shape[1]
        written = self.tokenizer.batch_decode(produced[:, width:].tolist(), skip_special_tokens=True)
        return [output.strip() for output in written]

    @property
    def _suppressed(self) -> list[int]:
        """Control tokens, and rows of the embedding that belong to no token."""
        embedding: Any = self.model.get_input_embeddings()
        rows = len(embedding.weight)
        return [*self.control.ids, *range(len(self.tokenizer), rows)]

    def _padded(self, rows: list[list[int]]) -> dict[str, torch.Tensor]:
        pad_id: Any = self.tokenizer.pad_token_id
        return {name: tensor.to(self.model.device) for name, tensor in pad_left(rows, pad_id).items()}

    def _batches(self, rows: list[list[int]], tokens_per_batch: int | None, room: int = 0) -> list[list[int]]:
        budget = tokens_per_batch or (CPU_TOKENS if self.model.device.type == "cpu" else GPU_TOKENS)
        return group_by_length(range(len(rows)), [len(row) + room for row in rows], budget)
