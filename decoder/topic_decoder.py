"""A fitted decoder: writes outputs under given topics, and scores topics itself. Knows no training."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from ..common import UserError
from ..runtime import (
    Precision,
    Usage,
    choose_precision,
    group_by_length,
    is_quantized,
    prepack_linears,
    refuse_after_fork,
    to_precision,
)
from . import saving
from .abilities import check_abilities, check_length
from .adaptation import Model, TrainableParameters
from .attention import skip_unseen_keys
from .base import pad_id_of
from .control import ControlTokens
from .engine import Engine, Guidance
from .generation import TokenCallback, TokenSelector, WatchedSelector, row_seed
from .kv_cache import KeptPrefix
from .prompts import Prompt
from .sequences import Sequencer, last_hidden, last_logits, make_head_inputs_contiguous, pad_left
from .settings import Backend, Condition, GenerationSettings
from .vllm_backend import VllmBackend, check_backend

Progress = Callable[[int], Any]
SCORED_TOKENS = 1024  # padded tokens of a batch when targets are scored: their float32 logits are large


class TopicDecoder:
    """From texts and topics to outputs. Threads may share it; a fork of a process that has used a model may not use it.

    Args:
        model: Causal language model, with or without a LoRA adapter; it is put into evaluation mode.
        tokenizer: Tokenizer with the control tokens.
        control: Ids of the control tokens.
        prompt: Prompt around every text, as in training.
        max_tokens: Most tokens of prompt and text together.
        max_target_tokens: Most tokens of a target in training, and of an output by default.
        condition: Form of the topic, see `DecoderSettings`.
        unguided: Whether the decoder has also learnt to write without a topic, which guidance needs.
        fairness: Whether the decoder was trained with `<force_fairness>`.
        base: Hub id or folder of an adapter's base; None for a plain model.
        base_is_ours: Whether `base` was trained here, so that it is saved too.
        facts: Numbers of trained parameters and size of the adapter; None if not known.

    Attributes:
        usage: Rows, tokens and seconds of `generate` so far.
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
        condition: Condition = "token",
        unguided: bool = False,
        fairness: bool = False,
        base: str | Path | None = None,
        base_is_ours: bool = False,
        facts: TrainableParameters | None = None,
    ) -> None:
        self.model = model.eval()
        make_head_inputs_contiguous(model)
        self.tokenizer = tokenizer
        self.control = control
        self.prompt = prompt
        self.max_tokens = max_tokens
        self.max_target_tokens = max_target_tokens
        self.condition: Condition = condition
        self.unguided = unguided
        self.fairness = fairness
        self.base, self.base_is_ours = base, base_is_ours
        self.facts = facts
        self.usage = Usage()
        self._sequencer = Sequencer(tokenizer, control, prompt, max_tokens, condition)
        self._vllm: VllmBackend | None = None
        self._kept_prefix = KeptPrefix()

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
        watch: TokenCallback | None = None,
    ) -> list[str]:
        """One output for each text under its topic, in the order of `texts`.

        Batches are formed by length, so give many texts at once. The other rows of a batch do not change an output
        (except for ties in floating point). Control tokens are never generated.

        Args:
            texts: Any strings; a control string in one is plain text.
            topics: Topic of each text.
            options: Options of generation; greedy by default.
            fairness: Whether `<force_fairness>` precedes the topic.
            progress: Called with the number of texts done after each batch.
            watch: Function called after each token with a text's index and the tokens of its output so far (see
                `text_of`); the output ends if it returns False. vLLM, and models that use transformers' `generate`, do
                not call it.

        Raises:
            UserError: If a topic is unknown; if the numbers of texts and topics differ; if guidance or fairness is
                requested and the decoder was not trained for it; if the base has too few positions for
                `max_new_tokens`; in a fork of a process that has used a model, where torch would hang.
        """
        if len(texts) != len(topics):
            raise UserError(f"{len(texts)} texts but {len(topics)} topics; give one topic for each text")
        if not texts:
            return []  # the tokenizer would decode an empty list as one output
        options = options or GenerationSettings()
        self.check_options(options, fairness)
        if options.max_new_tokens is None:
            options = replace(options, max_new_tokens=self.max_target_tokens + 1)  # one for the end token
        refuse_after_fork()
        prompts = self._sequencer.prompts(texts, fairness)
        topic_tokens = [self._sequencer.topic_tokens(topic) for topic in topics]
        keys = [row_seed(options.seed, text, topic) for text, topic in zip(texts, topics, strict=True)]
        with self.usage.timed():
            written = self._write(prompts, topic_tokens, keys, options, progress, watch)
        read = sum(map(len, prompts)) + sum(map(len, topic_tokens))
        self.usage.add(len(prompts), read, sum(map(len, written)))
        return [self.text_of(ids) for ids in written]

    def check_options(self, options: GenerationSettings, fairness: bool) -> None:
        """Raise a `UserError` if this decoder cannot give the requested guidance, fairness or length of outputs."""
        check_abilities(self, options.guidance, fairness)
        check_length(self, self.model.config, self._sequencer.most_topic_tokens, options, fairness)
        if options.guidance != 1 and self._vllm is not None:
            raise UserError("guidance needs the backend torch; set guidance to 1 with vllm")

    def text_of(self, ids: Sequence[int]) -> str:
        """The text of an output's tokens, or of its first tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    @torch.inference_mode()
    def target_log_probs(self, texts: Sequence[str], topics: Sequence[str], targets: Sequence[str]) -> torch.Tensor:
        """Mean log-probability (n,) in nats of the tokens of each target, end token included, after its text and topic.

        Float32, on the CPU. Long targets are cut as in training.
        """
        refuse_after_fork()
        prompts = self._sequencer.prompts(texts)
        wanted = self._sequencer.targets(targets, self.max_target_tokens)
        given = zip(prompts, topics, wanted, strict=True)
        rows = [[*prompt, *self._sequencer.topic_tokens(topic), *target] for prompt, topic, target in given]
        found = torch.empty(len(rows))
        for batch in group_by_length(range(len(rows)), [len(row) for row in rows], SCORED_TOKENS):
            inputs = pad_left([rows[i] for i in batch], pad_id_of(self.tokenizer))
            inputs = {name: tensor.to(self.model.device) for name, tensor in inputs.items()}
            logits = last_logits(self.model, inputs, max(len(wanted[i]) for i in batch) + 1)
            for place, i in enumerate(batch):
                own = logits[place, -len(wanted[i]) - 1 : -1].float()
                found[i] = -torch.nn.functional.cross_entropy(own, inputs["input_ids"][place, -len(wanted[i]) :])
        return found

    @torch.inference_mode()
    def topic_logits(
        self,
        texts: Sequence[str],
        tokens_per_batch: int | None = None,
        fairness: bool = False,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """Float32 logits (n, C) of the decoder's own choice of topic, on the CPU: one forward pass, no generation.

        Their softmax is a distribution over topic tokens alone. It is meaningful only for a decoder trained with a
        `topic_loss`.

        Args:
            texts: Any strings.
            tokens_per_batch: Padded tokens in a batch; None chooses by the device.
            fairness: Whether `<force_fairness>` precedes the topic.
            progress: Called with the number of texts done after each batch.

        Raises:
            UserError: If fairness is requested and the decoder was not trained with it.
        """
        check_abilities(self, 1, fairness)
        refuse_after_fork()
        rows = self._sequencer.prompts(texts, fairness)
        result = torch.empty(len(rows), len(self.topics))
        for batch, logits in self._engine.read(rows, tokens_per_batch):
            result[batch] = logits[:, list(self.control.topic_ids)].float().cpu()
            if progress is not None:
                progress(len(batch))
        return result

    @torch.inference_mode()
    def features(self, texts: Sequence[str]) -> torch.Tensor:
        """The last hidden state (n, D) before the topic, float32 on the CPU."""
        refuse_after_fork()
        rows, found = self._sequencer.prompts(texts), dict[int, torch.Tensor]()
        for batch in group_by_length(range(len(rows)), [len(row) for row in rows], SCORED_TOKENS):
            inputs = pad_left([rows[i] for i in batch], pad_id_of(self.tokenizer))
            inputs = {name: tensor.to(self.model.device) for name, tensor in inputs.items()}
            found |= dict(zip(batch, last_hidden(self.model, inputs).float().cpu(), strict=True))
        return torch.stack([found[i] for i in range(len(rows))])

    @torch.inference_mode()
    def generate_topics(
        self,
        texts: Sequence[str],
        tokens_per_batch: int | None = None,
        fairness: bool = False,
        progress: Progress | None = None,
    ) -> list[str | None]:
        """The topics that the decoder itself generates, greedily and with control tokens allowed.

        None if the first token is not a topic token; if topics are given as text, None if the line after `Topic:` is
        not a topic's name. A decoder that gets its topics as text has never learnt to write such lines, so the names it
        writes come from its base.

        Args:
            texts: Any strings.
            tokens_per_batch: Padded tokens in a batch; None chooses by the device.
            fairness: Whether `<force_fairness>` precedes the topic.
            progress: Called with the number of texts done after each batch.

        Raises:
            UserError: If fairness is requested and the decoder was not trained with it.
        """
        check_abilities(self, 1, fairness)
        refuse_after_fork()
        prompts = self._sequencer.prompts(texts, fairness)
        if self.condition == "text":
            return self._free_lines(prompts, tokens_per_batch, progress)
        named: list[str | None] = [None] * len(prompts)
        for batch, logits in self._engine.read(prompts, tokens_per_batch):
            for i, topic in zip(batch, named_by_tokens(logits.argmax(dim=1).tolist(), self.control), strict=True):
                named[i] = topic
            if progress is not None:
                progress(len(batch))
        return named

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the decoder in the layout of PEFT (an adapter) or transformers (a plain model), as safetensors.

        An adapter refers to a pretrained base by name; a base trained here is written beside it. The folder can be
        moved.

        Raises:
            UserError: If the weights were rounded to int8.
        """
        if is_quantized(self.model):
            raise UserError("an int8 decoder cannot be saved; load it in another precision and save that")
        saving.save(self, Path(folder))

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str | torch.device | None = None,
        precision: Precision | None = None,
        merge: bool = True,
        backend: Backend = "torch",
    ) -> "TopicDecoder":
        """Read a folder of `save_pretrained`.

        Args:
            folder: Folder of the decoder.
            device: Device of the model; None takes a GPU if there is one.
            precision: Precision of the weights; None is bfloat16 on a GPU and float32 on a CPU. "int8" needs a CPU and
                `merge`.
            merge: Merge an adapter into its base, which is faster, with the same outputs; False allows saving it as an
                adapter.
            backend: Library that generates: "torch", or "vllm" on the first GPU, with everything else on the CPU.
                "vllm" needs `merge`.

        Raises:
            UserError: If the folder is incomplete or unreadable, the adapter's base is missing, or the precision or the
                backend is unknown or not available.
        """
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        precision = choose_precision(precision, device)
        if precision == "int8" and not merge:
            raise UserError("precision int8 needs merged weights; set merge=True")
        check_backend(backend, precision, device)
        if backend == "vllm" and not merge:
            raise UserError("backend vllm needs merged weights; set merge=True, or give backend torch")
        parts = saving.load(Path(folder), merge=merge)
        model: Any = parts.model
        to_precision(model.to("cpu" if backend == "vllm" else device), precision)
        decoder = cls(**vars(parts))
        if backend == "vllm":
            longest = decoder.max_tokens + 1 + decoder._sequencer.most_topic_tokens  # 1 for fairness
            decoder._vllm = VllmBackend(model, longest, decoder.max_target_tokens + 1)
        if merge:  # an unmerged adapter may be trained further
            prepack_linears(model)
            skip_unseen_keys(model)
            model.requires_grad_(False)  # so that what prompts share is read once
        return decoder

    def _write(
        self,
        prompts: list[list[int]],
        topic_tokens: list[list[int]],
        keys: list[int],
        options: GenerationSettings,
        progress: Progress | None,
        watch: TokenCallback | None = None,
    ) -> list[list[int]]:
        suppressed = self.never_written
        end_id: Any = self.tokenizer.eos_token_id
        rows = [[*ids, *given] for ids, given in zip(prompts, topic_tokens, strict=True)]
        if self._vllm is not None:
            written = self._vllm.write(rows, keys, options, suppressed, end_id)
            if progress is not None:
                progress(len(rows))
            return written

        def selector(batch: list[int]) -> TokenSelector:
            selector = TokenSelector(options, suppressed, [keys[i] for i in batch], self.model.device)
            return selector if watch is None else WatchedSelector(selector, batch, watch, end_id)

        limit = int(options.max_new_tokens or 0)
        if options.guidance == 1:
            return self._engine.write(rows, selector, limit, options.tokens_per_batch, progress)
        guidance = Guidance(topic_tokens, options.guidance)
        return self._engine.write(prompts, selector, limit, options.tokens_per_batch, progress, guidance)

    def _free_lines(
        self, prompts: list[list[int]], tokens_per_batch: int | None, progress: Progress | None
    ) -> list[str | None]:
        def selector(batch: list[int]) -> TokenSelector:
            return TokenSelector(GenerationSettings(), [], [0] * len(batch), self.model.device)

        start, limit = self._sequencer.topic_line_start(), self._sequencer.most_topic_tokens
        rows = [[*ids, *start] for ids in prompts]
        written = self._engine.write(rows, selector, limit, tokens_per_batch, progress)
        return named_in_texts([self.text_of(ids) for ids in written], self.topics)

    @property
    def _engine(self) -> Engine:
        pad_id: Any = self.tokenizer.pad_token_id
        end_id: Any = self.tokenizer.eos_token_id
        return Engine(self.model, self._sequencer.prefix, pad_id, end_id, self._kept_prefix)

    @property
    def sequencer(self) -> Sequencer:
        """The builder of the decoder's sequences; read-only."""
        return self._sequencer

    @property
    def never_written(self) -> list[int]:
        """Ids that are never generated: control tokens, and rows of the embedding without a token."""
        return [*self.control.ids, *self._unused_rows]

    @cached_property
    def _unused_rows(self) -> list[int]:
        embedding: Any = self.model.get_input_embeddings()
        used = set(self.tokenizer.get_vocab().values())
        return [row for row in range(len(embedding.weight)) if row not in used]


def named_by_tokens(tokens: Sequence[int], control: ControlTokens) -> list[str | None]:
    """The topic of each token; None if it is not a topic token."""
    names = dict(zip(control.topic_ids, control.topics, strict=True))
    return [names.get(token) for token in tokens]


def named_in_texts(texts: Sequence[str], topics: Sequence[str]) -> list[str | None]:
    """The topic named by the first line of each text, ignoring case and surrounding white space; else None."""
    names = {name.strip().casefold(): name for name in topics}
    return [names.get(text.lstrip().partition("\n")[0].strip().casefold()) for text in texts]
