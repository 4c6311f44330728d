"""The two stages joined: texts in, topics and written outputs out, as a stream.

Knows both stages and how a topic passes from one to the other; knows no files of records.
"""

import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ..balance import ConformalKind, ConformalSets, DecisionSettings, PosteriorCorrector, TargetPrior
from ..common import UserError, check_settings
from ..corpus import Topics
from ..decoder import Backend, GenerationSettings, TokenCallback, TopicDecoder, check_backend
from ..encoder import TopicEncoder
from ..runtime import Precision, Usage, choose_precision, is_slow_bfloat16
from . import bundle
from .card import Example
from .held_out_file import load_rows, save_rows
from .readable import fault_of
from .settings import HARMLESS_TEXT, WINDOW, PredictOptions

log = logging.getLogger("unskew")


@dataclass(frozen=True, slots=True)
class Result:
    """The result of the pipeline for one text.

    Attributes:
        topic: Decided topic: the most probable one under the target prior, unless the system's `decision` says
            otherwise. None ("undecided") below the required confidence.
        confidence: Probability of that topic, decided or not.
        topics: Most probable topics with their probabilities, in descending order.
        output: Text written under that topic; None without a decoder, or for an undecided row if nothing is written for
            those.
        topic_set: Topics of the conformal set, most probable first; None if no sets were requested.
    """

    topic: str | None
    confidence: float
    topics: dict[str, float]
    output: str | None
    topic_set: tuple[str, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON; `topic_set` only if there is one."""
        values = asdict(self)
        topics = values.pop("topic_set")
        return values if topics is None else {**values, "topic_set": list(topics)}


@dataclass(frozen=True)
class DecidedRow:
    """A result before its output is written.

    Attributes:
        result: Result without an output.
        write_under: Topic that the output is written under; None for an undecided text without an output.
    """

    result: Result
    write_under: str | None


def choose_device(name: str | torch.device | None = None) -> torch.device:
    """The device with that name; None takes a GPU if there is one.

    Raises:
        UserError: If there is no such device.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"there is no device {name!r} here; give cpu, or cuda on a machine with a GPU") from error
    return device


class HybridPipeline:
    """A fitted two-stage system.

    Threads may share it. A fork of a process that has used a model would hang on torch's threads, so it gets a
    `UserError`. Start workers by spawn or forkserver and load the bundle in each, or fork before a model is used.

    Args:
        encoder: Stage 1.
        decoder: Stage 2; None for a topic classifier alone.
        corrector: Corrector from the encoder's logits to probabilities.
        description: Settings, fingerprints and versions in the bundle, as plain values.
        metrics: Metrics on the validation rows, as plain values.
    """

    def __init__(
        self,
        encoder: TopicEncoder,
        decoder: TopicDecoder | None,
        corrector: PosteriorCorrector,
        description: dict[str, Any] | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> None:
        for stage, topics in (("encoder", encoder.topics), ("decoder", decoder.topics if decoder else None)):
            if topics is not None and tuple(topics) != corrector.topics.names:
                raise UserError(
                    f"the {stage}'s topics differ from the bundle's, so folders of two bundles were mixed; fit again"
                )
        self.encoder = encoder
        self.decoder = decoder
        self.corrector = corrector
        self.description = description or {}
        self.metrics = metrics or {}

    @property
    def topics(self) -> Topics:
        """The topics with their training counts."""
        return self.corrector.topics

    def __call__(
        self,
        texts: Iterable[str],
        *,
        top_k: int = 5,
        generation: GenerationSettings | None = None,
        fairness: bool = False,
        window: int = WINDOW,
        min_confidence: float = 0.0,
        write_undecided: bool = False,
        sets: float | None = None,
        sets_kind: ConformalKind = "per_topic",
    ) -> Iterator[Result]:
        """Yield a result for each text, in order, reading `texts` a window at a time.

        Args:
            texts: Any iterable of non-empty strings, however long.
            top_k: Number of topics in a result.
            generation: Settings of generation; greedy unless given.
            fairness: Whether `<force_fairness>` precedes the topic.
            window: Texts in memory at once, within which batches are formed by length. On a GPU the next window is read
                and classified while one is written.
            min_confidence: Smallest probability at which a text gets a topic, whatever the system's `decision`; below
                it, its `topic` is None.
            write_undecided: Whether undecided texts get an output too, under the topic they would have.
            sets: Error rate of conformal sets, which miss the true topic for at most that share of rows; None makes no
                sets.
            sets_kind: Kind of promise of the sets, see `unskew.balance.ConformalSets`.

        Raises:
            UserError: If `texts` is a single string, one of them cannot be read (see `fault_of`), an option is out of
                range, the decoder cannot give the requested guidance or fairness, or the system's `decision` cannot be
                fitted.
        """
        if isinstance(texts, str):
            raise UserError("texts is one string; give a list of strings, or [text]")
        options = PredictOptions(top_k, generation, fairness, min_confidence, write_undecided, window, sets, sets_kind)
        # On a CPU, either stage uses all cores by itself.
        overlap = self.encoder.model.device.type != "cpu"
        return self._answered(self._classified(_windows(iter(texts), window), overlap), options)

    def results(self, texts: Sequence[str], logits: torch.Tensor, options: PredictOptions) -> Iterator[Result]:
        """Results for texts with known logits (n, C) of stage 1, as in a call of the system.

        Raises:
            UserError: As in a call of the system.
        """
        windows = (slice(start, start + options.window) for start in range(0, len(texts), options.window))
        return self._answered(((list(texts[own]), logits[own]) for own in windows), options)

    def probabilities(self, texts: Sequence[str]) -> torch.Tensor:
        """Float32 probabilities (n, C) of the topics under the target prior, by stage 1 alone."""
        return self.corrector(self.encoder.logits(texts))

    def check_options(self, options: PredictOptions) -> None:
        """Raise a `UserError` if outputs cannot be written as `options` ask."""
        if self.decoder is not None:
            self.decoder.check_options(options.generation or GenerationSettings(), options.fairness)

    def write(
        self,
        texts: Sequence[str],
        topics: Sequence[str],
        generation: GenerationSettings | None = None,
        fairness: bool = False,
        watch: TokenCallback | None = None,
    ) -> list[str]:
        """Outputs for texts under given topics, by stage 2 alone.

        Args:
            texts: Any strings.
            topics: Topics, one for each text.
            generation: Settings of generation; greedy unless given.
            fairness: Whether `<force_fairness>` precedes the topic.
            watch: Callback that sees outputs grow and may end them, see `TopicDecoder.generate`.

        Raises:
            UserError: If the system has no decoder, a topic is unknown, or guidance or fairness is requested and the
                decoder was not trained for it.
        """
        if self.decoder is None:
            raise UserError(
                "this bundle has no decoder, because it was fitted with `decoder: null`; fit one with a decoder"
            )
        return self.decoder.generate(texts, topics, generation, fairness, watch=watch)

    @property
    def usage(self) -> dict[str, Usage]:
        """The counts of each stage's work so far; systems that share a stage share its counts."""
        stages = {"encoder": self.encoder, "decoder": self.decoder}
        return {name: replace(stage.usage) for name, stage in stages.items() if stage is not None}

    @property
    def adapts(self) -> bool:
        """Whether the system was fitted to adapt its target prior to each job's rows."""
        return bundle.adapts(self.description)

    def with_target_prior(self, prior: TargetPrior) -> "HybridPipeline":
        """The same system for another target prior; its decision is tuned again."""
        return self._with(self.corrector.with_target_prior(prior))

    def with_decision(self, decision: DecisionSettings) -> "HybridPipeline":
        """The same system with another decision, fitted when it is first needed.

        Raises:
            UserError: If `decision` is not a `DecisionSettings`, such as a dict.
        """
        check_settings("decision", decision, DecisionSettings)
        return self._with(self.corrector.with_decision(decision))

    def _with(self, corrector: PosteriorCorrector) -> "HybridPipeline":
        return HybridPipeline(self.encoder, self.decoder, corrector, self.description, self.metrics)

    def _answered(
        self, classified: Iterator[tuple[list[str], torch.Tensor]], options: PredictOptions
    ) -> Iterator[Result]:
        """Results of windows with their logits. Invalid options raise at once, not at the first result."""
        self.check_options(options)
        fitted = None if options.sets is None else self.corrector.sets(options.sets, options.sets_kind)
        _ = self.corrector.decision
        return (result for held, logits in classified for result in self._results(held, logits, options, fitted))

    def _classified(self, windows: Iterator[list[str]], overlap: bool) -> Iterator[tuple[list[str], torch.Tensor]]:
        """Windows with their logits; with `overlap`, the next window is classified while the caller is busy."""

        def step() -> tuple[list[str], torch.Tensor] | None:
            held = next(windows, None)
            return None if held is None else (held, self.encoder.logits(held))

        if not overlap:
            yield from iter(step, None)
            return
        ahead = ThreadPoolExecutor(1, "classify")
        try:
            pending = ahead.submit(step)
            while (done := pending.result()) is not None:
                pending = ahead.submit(step)
                yield done
        finally:  # without waiting: a caller who stops early would wait for the next text of a slow source
            ahead.shutdown(wait=False, cancel_futures=True)

    def _results(
        self, texts: list[str], logits: torch.Tensor, options: PredictOptions, fitted: ConformalSets | None
    ) -> Iterator[Result]:
        decided = self.decide(logits, options, fitted)
        outputs = self._outputs(texts, [own.write_under for own in decided], options)
        for own, output in zip(decided, outputs, strict=True):
            yield replace(own.result, output=output)

    def decide(
        self, logits: torch.Tensor, options: PredictOptions, fitted: ConformalSets | None = None
    ) -> list[DecidedRow]:
        """Results without outputs, from logits (n, C) of stage 1, with conformal sets from `fitted`.

        Raises:
            UserError: If the system's `decision` cannot be fitted.
        """
        probabilities = self.corrector(logits)
        values, indices = probabilities.topk(min(options.top_k, len(self.topics)), dim=-1)
        names = [[self.topics.names[i] for i in row] for row in indices.tolist()]
        shares = [dict(zip(row, own, strict=True)) for row, own in zip(names, values.tolist(), strict=True)]
        chosen, confidence, enough = self.corrector.decision.decision.parts(probabilities)
        sure = (enough & (confidence >= options.min_confidence)).tolist()
        topics = [self.topics.names[i] for i in chosen.tolist()]
        sets = self._sets(logits, probabilities, chosen, fitted)
        return [
            DecidedRow(
                Result(topic if known else None, share, own, None, members),
                topic if known or options.write_undecided else None,
            )
            for topic, share, known, own, members in zip(topics, confidence.tolist(), sure, shares, sets, strict=True)
        ]

    def _sets(
        self, logits: torch.Tensor, probabilities: torch.Tensor, chosen: torch.Tensor, sets: ConformalSets | None
    ) -> list[tuple[str, ...]] | list[None]:
        """The conformal set of each row, with the most probable topic under the target prior first."""
        if sets is None:
            return [None] * len(logits)
        members = sets(self.corrector.uniform_probabilities(logits))
        order = probabilities.argsort(dim=-1, descending=True, stable=True).cpu()
        # The decided topic is always in the row's set.
        members = members.scatter(-1, chosen[:, None], True).tolist()
        names = self.topics.names
        return [tuple(names[i] for i in row if own[i]) for row, own in zip(order.tolist(), members, strict=True)]

    def _outputs(self, texts: list[str], topics: list[str | None], options: PredictOptions) -> list[str | None]:
        outputs: list[str | None] = [None] * len(texts)
        if self.decoder is None:
            return outputs
        rows = [(i, topic) for i, topic in enumerate(topics) if topic is not None]
        written = self.write(
            [texts[i] for i, _ in rows], [topic for _, topic in rows], options.generation, options.fairness
        )
        for (i, _), output in zip(rows, written, strict=True):
            outputs[i] = output
        return outputs

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a bundle, whole or not at all; an existing bundle survives any failure."""
        bundle.write(
            folder,
            encoder=self.encoder.save_pretrained,
            decoder=self.decoder.save_pretrained if self.decoder else None,
            corrector=self.corrector.to_dict(),
            description=self.description,
            metrics=self.metrics,
            held_out=partial(save_rows, self.corrector.rows) if self.corrector.rows else None,
            example=self._example(),
        )

    def _example(self) -> Example:
        """A harmless text with its answer, for the model card."""
        [shares] = self.probabilities([HARMLESS_TEXT]).tolist()
        return Example(HARMLESS_TEXT, dict(zip(self.topics.names, shares, strict=True)))

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str | torch.device | None = None,
        merge: bool = True,
        precision: Precision | None = None,
        backend: Backend = "torch",
        with_decoder: bool = True,
    ) -> "HybridPipeline":
        """Read a bundle.

        Args:
            folder: Local folder of a bundle, its URL in object storage, or its id on the hub.
            device: Device of the models; None takes a GPU if there is one.
            merge: Whether to fold the adapter into its base, which is faster and gives the same outputs.
            precision: Precision of the arithmetic. "float32" and "bfloat16" are for both stages. "int8" (on a CPU) is
                for the decoder, with an encoder in float32; in a bundle without a decoder it is for the encoder. What
                is in int8 cannot be saved. None is float32; on a GPU the decoder is in bfloat16.
            backend: Library that runs the decoder: "torch", or "vllm" (the extra `vllm`) on the first GPU.
            with_decoder: Whether to load the decoder, if the bundle has one.

        Raises:
            UserError: If the bundle is missing, incomplete, truncated or of a newer format, or the precision or the
                backend is unknown or not available on the device.
        """
        device = choose_device(device)
        chosen = choose_precision(precision, device)
        check_backend(backend, chosen, device)  # before anything is read
        if is_slow_bfloat16(chosen, device):
            log.warning(
                "precision bfloat16: this processor has no instructions for it, so float32, the default, is faster here"
            )
        contents = bundle.read(folder)
        # By default the encoder stays in float32: its probabilities were calibrated so, and it is small.
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        with _readable(folder):
            int8 = precision == "int8" and contents.decoder is None
            encoder = TopicEncoder.from_pretrained(contents.encoder, device, dtype, int8)
            decoder = None
            if contents.decoder and with_decoder:
                decoder = TopicDecoder.from_pretrained(contents.decoder, device, precision, merge, backend)
            rows = contents.held_out and load_rows(contents.held_out, len(contents.corrector["topics"]["names"]))
            corrector = PosteriorCorrector.from_dict(contents.corrector, rows)
        return cls(encoder, decoder, corrector, contents.description, contents.metrics)

    def push_to_hub(self, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
        """Upload the bundle to the Hugging Face hub. Returns its address.

        Raises:
            UserError: If the decoder is an adapter to a base that is only on this machine.
        """
        base = self.decoder and self.decoder.base
        if self.decoder and base and not self.decoder.base_is_ours and Path(base).exists():
            raise UserError(
                f"the decoder needs the folder {base} of this machine; fit on the base's hub id, or push what "
                "from_pretrained(merge=True) gives"
            )
        return bundle.push(repo_id, self.save_pretrained, private=private, token=token)


@contextmanager
def _readable(folder: str | Path) -> Generator[None]:
    """Turn errors of reading into a `UserError`: the libraries raise many kinds."""
    try:
        yield
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"bundle {folder} cannot be loaded ({reason}); restore it or fit again") from error


def _windows(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    position = 0
    while held := list(islice(texts, size)):
        for text in held:
            position += 1
            if fault := fault_of(text):
                raise UserError(f"text {position} {fault}")
        yield held
