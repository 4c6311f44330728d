"""Out-of-sample predictions of a probe: on clean rows by folds, on noisy rows by the head of the clean rows.

Knows rows and features; knows no fine-tuning. Features are a base's own, or TF-IDF without a base.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize
from torch import Tensor

from ..balance import denoised_labels, shrunk_em_prior
from ..corpus import Record, Topics, subsample
from .folds import folds_of
from .linear_head import LabelledFeatures
from .probe import NOISY_PSEUDO_ROWS, Probe, ProbeRows, fit_head, fit_probe
from .probed_base import ProbedBase
from .recipe import PROBE_FOLDS
from .settings import EncoderSettings
from .topic_texts import name_as_text

WIDTH = 256  # of TF-IDF features after the singular value decomposition
VOCABULARY = 30_000
CHARACTERS = 2000  # of a text, read for TF-IDF
UNSPACED = 15  # mean characters per word from which a script is taken to have no spaces
_CHARACTERS_ALONE: dict[str, Any] = {"ngram_range": (1, 3), "analyzer": "char"}
MAX_NOISY_ROWS = 5000  # noisy rows read by a probe on TF-IDF


@dataclass(frozen=True)
class CrossFitted:
    """Predictions for rows that the probe was not fitted on.

    Attributes:
        logits: Logits (n, C) of each clean row by a head that did not see it, favouring no topic; nan if there is none,
            and for synthetic rows.
        notes: Choices of the probe and their reasons, a line each.
        noisy: Noisy rows that were read.
        given: Probability (m,) that each noisy row's given topic is right, from its text and the estimated label noise.
        decided: Topic (m,) of each noisy row by a head fitted on the clean rows, under the noisy set's shares.
        noisy_nats: Change of the held-out log-loss by training on the noisy rows; None if they are not worth it.
    """

    logits: Tensor
    notes: tuple[str, ...]
    noisy: tuple[Record, ...]
    given: Tensor
    decided: Tensor
    noisy_nats: float | None


def cross_fit(
    clean: Sequence[Record], noisy: Sequence[Record], topics: Topics, settings: EncoderSettings, seed: int = 0
) -> CrossFitted:
    """Cross-fit the probe that `fit_topic_encoder` starts with, on the same rows, folds and choices.

    Args:
        clean: Clean rows, at least one for each topic.
        noisy: Rows whose topics may be wrong.
        topics: Topics of the clean rows, with their counts.
        settings: Settings whose `base` gives the features; without a base they are TF-IDF.
        seed: Random seed of the folds.

    Raises:
        UserError: If the base cannot be used.
    """
    settings = settings.resolved()
    if settings.base is not None:
        base = ProbedBase.make(clean, noisy, topics, settings, Path(), seed)
        rows, folds, noisy = base.rows(), base.folds(PROBE_FOLDS), base.noisy
        return _said(rows, fit_probe(rows, folds), noisy)
    noisy = list(subsample(noisy, seed, MAX_NOISY_ROWS, "noisy"))
    rows = _tfidf_rows(clean, noisy, topics)
    folds = folds_of(clean, rows.clean.labels.tolist(), PROBE_FOLDS, seed)
    return _said(rows, fit_probe(rows, folds, strengths=(3.0,)), noisy)


def _said(rows: ProbeRows, probe: Probe, noisy: Sequence[Record]) -> CrossFitted:
    given, decided = torch.empty(0), torch.empty(0, dtype=torch.long)
    if rows.noisy is not None:
        own = replace(rows, noisy=None, names=rows.names if probe.names else None)
        logits = fit_head(own, probe.strength, probe.scale)(rows.noisy.features) * probe.scale
        shares = (logits.double() + shrunk_em_prior(logits, rows.prior, NOISY_PSEUDO_ROWS).log()).softmax(-1)
        given = denoised_labels(shares, rows.noisy.labels).gather(-1, rows.noisy.labels[:, None]).squeeze(-1)
        decided = shares.argmax(-1)
    return CrossFitted(probe.held_out, probe.report, tuple(noisy), given, decided, probe.noisy)


def _tfidf_rows(clean: Sequence[Record], noisy: Sequence[Record], topics: Topics) -> ProbeRows:
    named = [(name, text) for name in topics.names if (text := name_as_text(name))]
    blocks = [
        ([record.text[:CHARACTERS] for record in clean], [str(record.topic) for record in clean]),
        ([text for _, text in named], [name for name, _ in named]),
        ([record.text[:CHARACTERS] for record in noisy], [str(record.topic) for record in noisy]),
    ]
    features = _tfidf([text for texts, _ in blocks for text in texts])
    ends = np.cumsum([len(texts) for texts, _ in blocks])
    found = [
        LabelledFeatures(features[end - len(labels) : end], torch.tensor(topics.encode(labels))) if labels else None
        for end, (_, labels) in zip(ends.tolist(), blocks, strict=True)
    ]
    assert found[0] is not None
    synthetic = torch.tensor([record.synthetic for record in clean])
    return ProbeRows(found[0], found[1], found[2], len(topics), synthetic)


def _tfidf(texts: list[str]) -> Tensor:
    """Unit features (n, d) of texts: TF-IDF of words and pairs of words, then latent semantic analysis."""
    words = sum(len(text.split()) for text in texts)
    spaced = sum(map(len, texts)) < UNSPACED * max(words, 1)
    # Each punctuation character is a word, so that no text is without words.
    way: dict[str, Any] = {"ngram_range": (1, 2), "token_pattern": r"\w+|[^\w\s]"} if spaced else _CHARACTERS_ALONE
    vectorizer = TfidfVectorizer(max_features=VOCABULARY, sublinear_tf=True, **way)
    counts: Any = vectorizer.fit_transform(texts).astype(np.float32)
    width = min(WIDTH, counts.shape[0] - 1, counts.shape[1] - 1)
    if width < 2:
        return torch.from_numpy(counts.toarray())
    reduced = TruncatedSVD(width, n_iter=2, random_state=0).fit_transform(counts)
    return torch.from_numpy(np.asarray(normalize(reduced), dtype=np.float32))
