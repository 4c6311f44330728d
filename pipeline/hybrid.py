"""The two stages joined: texts in, topics and written outputs out, streamed.

Knows both stages and how a topic passes from one to the other; knows no files of records.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ..corpus.errors import UserError
from ..corpus.topics import Topics
from ..decoder import GenerationSettings, TopicDecoder
from ..encoder import TopicEncoder
from . import bundle
from .deciding import Decider
from .settings import TargetPrior

WINDOW = 1024  # texts held at once: long enough to sort by length, short enough to stream


@dataclass(frozen=True, slots=True)
class Result:
    """What the pipeline says of one text.

    Attributes:
        topic: The most probable topic under the target prior.
        confidence: Its probability.
        topics: The most probable topics with their probabilities, most probable first.
        output: The text written under `topic`; None where the system has no decoder.
    """

    topic: str
    confidence: float
    topics: dict[str, float]
    output: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return asdict(self)


def choose_device(name: str | torch.device | None = None) -> torch.device:
    """The device of that name; None takes a GPU if there is one.

    Raises:
        UserError: If there is no such device.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"there is no device {name!r} here; give cpu, or cuda on a machine with a GPU") from error
    return device


def weights_dtype(device: torch.device) -> torch.dtype:
    """In which precision the decoder writes on a device."""
    return torch.float32 if device.type == "cpu" else torch.bfloat16


class HybridPipeline:
    """A fitted two-stage system.

    Args:
        encoder: Stage 1.
        decoder: Stage 2; None for a topic classifier alone.
        decider: From the encoder's logits to probabilities.
        description: What else the bundle records: settings, fingerprints, versions; plain values.
        metrics: Measured on the validation rows; plain values.
    """

    def __init__(
        self,
        encoder: TopicEncoder,
        decoder: TopicDecoder | None,
        decider: Decider,
        description: dict[str, Any] | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> None:
        for stage, topics in (("encoder", encoder.topics), ("decoder", decoder.topics if decoder else None)):
            if topics is not None and tuple(topics) != decider.topics.names:
                raise UserError(f"the {stage}'s topics are not the bundle's: the folders were mixed; fit again")
        self.encoder = encoder
        self.decoder = decoder
        self.decider = decider
        self.description = description or {}
        self.metrics = metrics or {}

    @property
    def topics(self) -> Topics:
        """The topics with their training counts."""
        return self.decider.topics

    def __call__(
        self,
        texts: Iterable[str],
        *,
        top_k: int = 5,
        generation: GenerationSettings | None = None,
        fairness: bool = False,
        window: int = WINDOW,
    ) -> Iterator[Result]:
        """Yield a result for each text, in order, reading `texts` a window at a time.

        Args:
            texts: Any iterable of non-empty strings, however long.
            top_k: How many topics a result names.
            generation: How outputs are written: greedily unless it says otherwise.
            fairness: Whether `<force_fairness>` precedes the topic.
            window: Texts held at once; batches are formed by length within it.

        Raises:
            UserError: If `texts` is a single string, or one of them is empty or no string.
        """
        if isinstance(texts, str):
            raise UserError("texts is one string; give a list of strings, or [text]")
        if top_k < 1 or window < 1:
            raise UserError(f"top_k is {top_k} and window {window}; both must be positive")
        return self._stream(iter(texts), top_k, generation, fairness, window)

    def probabilities(self, texts: Sequence[str]) -> torch.Tensor:
        """Float32 probabilities (n, C) of the topics under the target prior: stage 1 alone."""
        return self.decider(self.encoder.logits(texts))

    def write(
        self,
        texts: Sequence[str],
        topics: Sequence[str],
        generation: GenerationSettings | None = None,
        fairness: bool = False,
    ) -> list[str]:
        """Outputs for texts under given topics: stage 2 alone.

        Raises:
            UserError: If the system has no decoder, or a topic is unknown.
        """
        if self.decoder is None:
            raise UserError("this system has no decoder: it was fitted with `decoder: null`")
        return self.decoder.generate(texts, topics, generation, fairness)

    def aimed_at(self, prior: TargetPrior) -> "HybridPipeline":
        """The same system, right for another target prior."""
        return HybridPipeline(self.encoder, self.decoder, self.decider.aimed_at(prior), self.description, self.metrics)

    def _stream(
        self, texts: Iterator[str], top_k: int, generation: GenerationSettings | None, fairness: bool, window: int
    ) -> Iterator[Result]:
        position = 0
        while held := list(islice(texts, window)):
            for text in held:
                position += 1
                if not isinstance(text, str) or not text.strip():
                    raise UserError(f"text {position} is empty or no string; leave such rows out")
            yield from self._window(held, top_k, generation, fairness)

    def _window(
        self, texts: list[str], top_k: int, generation: GenerationSettings | None, fairness: bool
    ) -> Iterator[Result]:
        values, indices = self.probabilities(texts).topk(min(top_k, len(self.topics)), dim=-1)
        names = [[self.topics.names[i] for i in row] for row in indices.tolist()]
        chosen = [row[0] for row in names]
        outputs = [None] * len(texts) if self.decoder is None else self.write(texts, chosen, generation, fairness)
        for row, shares, output in zip(names, values.tolist(), outputs, strict=True):
            yield Result(row[0], shares[0], dict(zip(row, shares, strict=True)), output)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a bundle, whole or not at all: a bundle that stood there survives any failure."""
        bundle.write(
            folder,
            encoder=self.encoder.save_pretrained,
            decoder=self.decoder.save_pretrained if self.decoder else None,
            decider=self.decider.to_dict(),
            description=self.description,
            metrics=self.metrics,
        )

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str | torch.device | None = None, merge: bool = True
    ) -> "HybridPipeline":
        """Read a bundle.

        Args:
            folder: A local bundle, or the id of one on the hub.
            device: Where the models go; None takes a GPU if there is one.
            merge: Fold the adapter into its base: faster, with the same outputs.

        Raises:
            UserError: If the bundle is missing, incomplete, truncated, or of a newer format.
        """
        contents = bundle.read(folder)
        device = choose_device(device)
        # The encoder stays in float32: its probabilities were calibrated so, and it is the small one.
        encoder = TopicEncoder.from_pretrained(contents.encoder, device)
        decoder = contents.decoder and TopicDecoder.from_pretrained(
            contents.decoder, device, weights_dtype(device), merge
        )
        return cls(encoder, decoder, Decider.from_dict(contents.decider), contents.description, contents.metrics)

    def push_to_hub(self, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
        """Upload the bundle to the Hugging Face hub; returns its address.

        Raises:
            UserError: If the decoder is an adapter to a base that lies on this machine alone.
        """
        base = self.decoder and self.decoder.base
        if self.decoder and base and not self.decoder.base_is_ours and Path(base).exists():
            raise UserError(
                f"the decoder needs the folder {base} of this machine; fit on the base's hub id, or push what "
                "from_pretrained(merge=True) gives"
            )
        return bundle.push(repo_id, self.save_pretrained, private=private, token=token)
