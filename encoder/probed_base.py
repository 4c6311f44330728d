"""A pretrained base and the rows to fit it on: features, folds, and tuning from a probe's head.

Knows the model and the rows; does not know which head is best or whether tuning paid off, which the recipe decides.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..common import fingerprint
from ..corpus import Record, Topics, record_weights, subsample
from ..training import base_contents, record_contents, trainer_choices
from .base import make_base
from .data import Rows
from .folds import folds_of
from .linear_head import LabelledFeatures, LinearHead
from .output_layer import output_layer, set_output_layer
from .probe import Probe, ProbeRows
from .settings import EncoderSettings
from .tokens import pad_id_of, tokenize
from .topic_encoder import TopicEncoder
from .topic_texts import name_as_text
from .tuning import tune

log = logging.getLogger("unskew")

MAX_NOISY_ROWS = 20_000  # noisy rows read by a probe; more would change little


@dataclass(frozen=True)
class Tuned:
    """The result of tuning a model: the tuned head, and all rows with the tuned model's features."""

    head: LinearHead
    rows: ProbeRows


@dataclass(frozen=True)
class ProbedBase:
    """A base with the rows to fit it on.

    Attributes:
        model: Classifier over `topics`.
        tokenizer: Tokenizer of the model.
        settings: Resolved settings.
        topics: Topics, in the order of the logits.
        folder: Folder of checkpoints and logs.
        seed: Random seed.
        clean: Clean rows.
        names: Topic names as rows.
        noisy: Noisy rows.
        start: Weights of the model before any tuning.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    settings: EncoderSettings
    topics: Topics
    folder: Path
    seed: int
    clean: tuple[Record, ...]
    names: tuple[Record, ...]
    noisy: tuple[Record, ...]
    start: dict[str, Tensor]

    @classmethod
    def make(
        cls,
        clean: Sequence[Record],
        noisy: Sequence[Record],
        topics: Topics,
        settings: EncoderSettings,
        folder: Path,
        seed: int,
    ) -> "ProbedBase":
        """Load the base named in resolved settings."""
        model, tokenizer = make_base(settings, topics, (), seed)
        if settings.trainer.get("accelerator", "auto") in ("auto", "gpu", "cuda") and torch.cuda.is_available():
            model.to("cuda")  # pyright: ignore[reportArgumentType]
        texts = ((name, name_as_text(name)) for name in topics.names) if settings.names else ()
        names = tuple(Record(text, f"name-{name}", name) for name, text in texts if text)
        if len(noisy) > MAX_NOISY_ROWS:
            log.info("encoder: the probe reads %s of the %s noisy rows", f"{MAX_NOISY_ROWS:,}", f"{len(noisy):,}")
        # A simple random sample, because the noisy set's shares and label errors are estimated on it.
        read = tuple(subsample(noisy, seed, MAX_NOISY_ROWS, "noisy"))
        start = {name: value.detach().clone() for name, value in model.state_dict().items()}
        return cls(model, tokenizer, settings, topics, folder, seed, tuple(clean), names, read, start)

    @cached_property
    def labels(self) -> Tensor:
        """Topics (n,) of the clean rows."""
        return self._labels(self.clean)

    @cached_property
    def tokens(self) -> int:
        """The tokens of the clean rows, as far as they are read."""
        rows = tokenize(self.tokenizer, [record.text for record in self.clean], self.settings.max_tokens)
        return sum(map(len, rows))

    @cached_property
    def encoder(self) -> TopicEncoder:
        """The model in its current state."""
        return TopicEncoder(self.model, self.tokenizer, self.settings.max_tokens)

    def using(self, probe: Probe) -> "ProbedBase":
        """The same base with only the rows that a probe chose to use."""
        noisy = () if probe.noisy is None else self.noisy
        return replace(self, names=self.names if probe.names else (), noisy=noisy)

    def features(self, records: Sequence[Record]) -> Tensor:
        """The inputs of the last layer (n, d), from the model in its current state."""
        return self.encoder.features([record.text for record in records])

    def rows(self) -> ProbeRows:
        """All rows with their features, from the model in its current state."""
        labelled = [
            LabelledFeatures(self.features(records), self._labels(records), torch.from_numpy(record_weights(records)))
            if records
            else None
            for records in (self.clean, self.names, self.noisy)
        ]
        assert labelled[0] is not None
        synthetic = torch.tensor([record.synthetic for record in self.clean])
        return ProbeRows(labelled[0], labelled[1], labelled[2], len(self.topics), synthetic)

    def folds(self, count: int) -> list[int]:
        """A fold for each clean row."""
        return folds_of(self.clean, self.labels.tolist(), count, self.seed)

    def tune(self, kept: Tensor, name: str, head: LinearHead) -> Tuned:
        """Tune the model from its first weights, on the clean rows in a mask (n,) and on the names.

        Args:
            kept: Mask (n,) of the clean rows to tune on.
            name: Name for log lines and the folder.
            head: Head to start from.
        """
        clean = tuple(record for record, keep in zip(self.clean, kept.tolist(), strict=True) if keep)
        own = replace(self, clean=clean)
        self.restore()
        set_output_layer(self.model, head.weight, head.bias)
        records = [*own.clean, *own.names]
        tokens = Rows.from_records(records, self.topics, self.tokenizer, self.settings.max_tokens)
        folder = self.folder / f"tuned-{own.state(head)[:12]}"
        pad_id = pad_id_of(self.tokenizer)
        tune(self.model, tokens, self.topics, self.settings, folder, f"encoder, {name}", self.seed, pad_id)
        layer = output_layer(self.model)[1]
        tuned = LinearHead(layer.weight.detach().cpu().float().clone(), layer.bias.detach().cpu().float().clone())
        return Tuned(tuned, self.rows())

    def restore(self) -> None:
        """Reset the model to its weights before any tuning."""
        self.model.load_state_dict(self.start)

    def state(self, head: LinearHead) -> str:
        """Fingerprint of everything that a tuning depends on."""
        settings = self.settings
        return fingerprint(
            settings.base,
            base_contents(settings.base),
            settings.max_tokens,
            settings.tokens_per_batch,
            settings.rows_per_batch,
            settings.max_steps,
            settings.clean,
            settings.layer_decay,
            trainer_choices(settings.trainer),
            self.topics.names,
            self.seed,
            record_contents([*self.clean, *self.names], targets=False),
            head.bias.tolist(),
        )

    def _labels(self, records: Sequence[Record]) -> Tensor:
        return torch.tensor(self.topics.encode(str(record.topic) for record in records))
