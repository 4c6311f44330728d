"""The newsroom: a synthetic corpus with a known P(text | topic), exact posterior and Bayes ceiling.

A text states three facts and lists some content words, all in topic-neutral sentences. How many words of each kind it
has, the facts, the common words and the layout are drawn without looking at the topic. Telling words are drawn
independently from P(word | topic), and so are the words of the family. So

    log P(text | topic) = sum over telling and family words w of log P(w | topic)  +  c(text),

where c is the log-probability of all the rest and the same for every topic, so it cancels from the posterior. A word
belongs to one list only, so the sum is computed from the text alone, also for texts read back from a file.

Knows nothing of files or models; `newsroom_files` writes the demo's files.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..common import UserError
from .newsroom_text import draw_facts, lay_out, lower_words, write_target
from .newsroom_words import FAMILIES, FAMILY_WORDS, TELLING_WORDS, TOPICS
from .records import Record

Floats = NDArray[np.float64]
Seed = int | Sequence[int]


@dataclass(frozen=True, slots=True)
class Mixture:
    """Where a telling word comes from (`own`, `siblings` and `stray` sum to one), and how often a text has any.

    `own`: the topic's own words; `siblings`: those of its siblings; `stray`: those of any topic, and for a family word
    those of any family, so that no text is impossible; `thin`: the share of texts without telling words.
    """

    own: float
    siblings: float
    stray: float
    thin: float


# The two ends of `difficulty`. At 1 siblings are indistinguishable: own words are as likely as those of either sibling.
EASY = Mixture(own=0.97, siblings=0.00, stray=0.03, thin=0.00)
HARD = Mixture(own=0.97 / 3, siblings=0.97 * 2 / 3, stray=0.03, thin=0.16)

SIBLING_PULL = 3.0
"""How many times likelier a wrong label falls on a sibling than on another topic of the same frequency."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A Monte Carlo estimate and its standard error."""

    value: float
    standard_error: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.standard_error:.3f}"


class Newsroom:
    """A generative corpus of twelve topics in four families, with its exact posterior.

    Args:
        difficulty: from 0 (topics hardly overlap) to 1 (siblings are indistinguishable).
        seed: the world: it fixes how frequent each word is within its list. Samples have seeds of their own.

    Attributes:
        topics: the T names, from the most to the least frequent of a long tail; `families` has the family of each.
        vocabulary: the V telling and family words; `log_words` has log P(word | topic) as (T, V), where the telling
            words of a row sum to one, and so do the family words.

    Raises:
        UserError: If `difficulty` is outside [0, 1].
    """

    def __init__(self, difficulty: float = 0.5, seed: int = 0) -> None:
        if not 0 <= difficulty <= 1:
            raise UserError(f"newsroom: difficulty is {difficulty}; give a number from 0 to 1")
        self.difficulty = difficulty
        self.seed = seed
        self.topics: tuple[str, ...] = tuple(TOPICS)
        self.families: tuple[str, ...] = tuple(words.family for words in TOPICS.values())
        self.mixture = mixture(difficulty)
        self._telling = _telling_probabilities(self.mixture, seed)
        self._family = _family_probabilities(self.mixture, seed)
        self.vocabulary: tuple[str, ...] = (
            *(word for words in TOPICS.values() for word in words.own),
            *(word for words in FAMILIES.values() for word in words),
        )
        self.log_words: Floats = np.log(np.concatenate([self._telling, self._family], axis=1))
        self._word_index = {word: i for i, word in enumerate(self.vocabulary)}

    def long_tail_counts(self, largest: int, ratio: float = 100.0) -> tuple[int, ...]:
        """Return a row count per topic, falling geometrically from `largest` to `largest / ratio`, at least one."""
        if largest < 1 or ratio < 1:
            raise UserError(f"newsroom: largest is {largest} and ratio {ratio}; give two numbers of at least 1")
        steps = np.arange(len(self.topics)) / (len(self.topics) - 1)
        return tuple(max(1, round(count)) for count in largest * ratio**-steps)

    def sample(self, n: int, prior: ArrayLike | None = None, seed: Seed = 0, prefix: str = "row") -> list[Record]:
        """Draw `n` records with topics from `prior` (T,), uniform if not given; ids are `prefix-1`, ..."""
        rng = np.random.default_rng(seed)
        return self._records(rng.choice(len(self.topics), size=n, p=self._checked_prior(prior)), rng, prefix)

    def sample_counts(self, counts: Sequence[int], seed: Seed = 0, prefix: str = "row") -> list[Record]:
        """Draw exactly `counts[t]` records of each topic t, in random order."""
        if len(counts) != len(self.topics):
            raise UserError(f"newsroom: {len(counts)} counts for {len(self.topics)} topics; give one per topic")
        rng = np.random.default_rng(seed)
        return self._records(rng.permutation(np.repeat(np.arange(len(self.topics)), counts)), rng, prefix)

    def transition(self, rate: float, prior: ArrayLike | None = None) -> Floats:
        """Return P(noisy label j | true topic i) as (T, T): 1 - `rate` on the diagonal.

        A wrong label j is drawn in proportion to prior[j], times `SIBLING_PULL` if j is a sibling of i: labels flip
        toward frequent topics and siblings. The prior is the 100:1 long tail unless given.
        """
        if not 0 <= rate <= 1:
            raise UserError(f"newsroom: flip rate is {rate}; give a number from 0 to 1")
        tail = self._checked_prior(self.long_tail_counts(10_000) if prior is None else prior)
        family = np.asarray(self.families)
        pull = tail * np.where(family[:, None] == family, SIBLING_PULL, 1.0)
        np.fill_diagonal(pull, 0.0)
        if not pull.any(axis=1).all():
            raise UserError("newsroom: labels cannot flip if the prior has only one topic; give it a second")
        return (1 - rate) * np.eye(len(tail)) + rate * pull / pull.sum(axis=1, keepdims=True)

    def flip(
        self, records: Sequence[Record], rate: float = 0.3, prior: ArrayLike | None = None, seed: Seed = 0
    ) -> list[Record]:
        """Give each record a noisy topic drawn from `transition`; the target stays that of the true topic."""
        cumulative = self.transition(rate, prior).cumsum(axis=1)[self.topic_indices(records)]
        draws = np.random.default_rng(seed).random(len(records))
        noisy = (draws[:, None] >= cumulative[:, :-1]).sum(axis=1)
        return [replace(record, topic=self.topics[j]) for record, j in zip(records, noisy, strict=True)]

    def topic_indices(self, records: Sequence[Record]) -> NDArray[np.int64]:
        """Return the records' topics as (n,) indices into `topics`."""
        index: dict[str | None, int] = {topic: i for i, topic in enumerate(self.topics)}
        try:
            return np.array([index[record.topic] for record in records], dtype=np.int64)
        except KeyError as unknown:
            raise UserError(
                f"newsroom: {unknown} is not a newsroom topic; choose from {', '.join(self.topics)}"
            ) from None

    def log_likelihood(self, texts: Sequence[str]) -> Floats:
        """Return log P(text | topic) as (n, T), in nats, up to each text's constant c.

        Exact for newsroom texts. In other texts only the newsroom's words count; without any the row is zero.
        """
        result = np.zeros((len(texts), len(self.topics)))
        for row, text in zip(result, texts, strict=True):
            words = [self._word_index[word] for word in lower_words(text) if word in self._word_index]
            row[:] = self.log_words[:, words].sum(axis=1)
        return result

    def posterior(self, texts: Sequence[str], prior: ArrayLike | None = None) -> Floats:
        """Return the exact P(topic | text) as (n, T) where topics have `prior` (T,), uniform if not given."""
        return self._posterior(self.log_likelihood(texts), prior)

    def bayes_predict(self, texts: Sequence[str], prior: ArrayLike | None = None) -> list[str]:
        """Return the most probable topic of each text under `prior`: no classifier is right more often there."""
        return [self.topics[i] for i in self.posterior(texts, prior).argmax(axis=1)]

    def bayes_recall(self, records: Sequence[Record], prior: ArrayLike | None = None) -> dict[str, float]:
        """Return, per topic that has records, the share of them that `bayes_predict` under `prior` gets right.

        Its mean is the balanced accuracy on these very records; with a uniform prior that is the ceiling for any model.
        """
        true = self.topic_indices(records)
        right = self.posterior([record.text for record in records], prior).argmax(axis=1) == true
        return {self.topics[t]: float(right[true == t].mean()) for t in np.unique(true)}

    def bayes_balanced_accuracy(
        self, prior: ArrayLike | None = None, rows_per_topic: int = 5000, seed: Seed = 0
    ) -> Estimate:
        """Estimate the balanced accuracy of the Bayes rule that believes in `prior`, by Monte Carlo.

        With the uniform prior (the default) this is the best balanced accuracy there is, whatever the topics'
        frequencies; with the training prior it is what a perfect model loses by copying that prior.
        """
        rng = np.random.default_rng(seed)
        true = np.repeat(np.arange(len(self.topics)), rows_per_topic)
        words, used = self._draw_words(true, rng)
        log_likelihood = (self.log_words[:, words] * used).sum(axis=2).T
        right = self._posterior(log_likelihood, prior).argmax(axis=1) == true
        recall = right.reshape(len(self.topics), rows_per_topic).mean(axis=1)
        error = np.sqrt((recall * (1 - recall)).sum() / rows_per_topic) / len(self.topics)
        return Estimate(float(recall.mean()), float(error))

    def _records(self, topics: NDArray[np.int64], rng: np.random.Generator, prefix: str) -> list[Record]:
        words, used = self._draw_words(topics, rng)
        topical = [
            [self.vocabulary[w] for w, is_used in zip(row, mask, strict=True) if is_used]
            for row, mask in zip(words.tolist(), used.tolist(), strict=True)
        ]
        facts = draw_facts(len(topics), rng)
        texts = lay_out(topical, facts, rng)
        names = [self.topics[t] for t in topics]
        return [
            Record(text=text, id=f"{prefix}-{i}", topic=topic, target=write_target(topic, stated))
            for i, (text, topic, stated) in enumerate(zip(texts, names, facts, strict=True), start=1)
        ]

    def _draw_words(
        self, topics: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Draw (n, L) indices into `vocabulary`, as many as a text can have at most, and the mask of those in use."""
        n = len(topics)
        telling = rng.integers(TELLING_WORDS[0], TELLING_WORDS[1] + 1, size=n)
        telling[rng.random(n) < self.mixture.thin] = 0
        family = rng.integers(FAMILY_WORDS[0], FAMILY_WORDS[1] + 1, size=n)
        words = np.concatenate(
            [
                _draw_rows(self._telling, topics, TELLING_WORDS[1], rng),
                _draw_rows(self._family, topics, FAMILY_WORDS[1], rng) + self._telling.shape[1],
            ],
            axis=1,
        )
        used = [np.arange(TELLING_WORDS[1]) < telling[:, None], np.arange(FAMILY_WORDS[1]) < family[:, None]]
        return words, np.concatenate(used, axis=1)

    def _posterior(self, log_likelihood: Floats, prior: ArrayLike | None) -> Floats:
        with np.errstate(divide="ignore"):  # a prior may be 0 for a topic
            joint = log_likelihood + np.log(self._checked_prior(prior))
        joint = np.exp(joint - joint.max(axis=1, keepdims=True))
        return joint / joint.sum(axis=1, keepdims=True)

    def _checked_prior(self, prior: ArrayLike | None) -> Floats:
        if prior is None:
            return np.full(len(self.topics), 1 / len(self.topics))
        weights = np.asarray(prior, dtype=np.float64)
        if weights.shape != (len(self.topics),) or not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
            raise UserError(
                f"newsroom: a prior needs {len(self.topics)} non-negative finite weights, one per topic; got {prior}"
            )
        return weights / weights.sum()


def mixture(difficulty: float) -> Mixture:
    """Return the mixture at a difficulty in [0, 1]: on the straight line from `EASY` to `HARD`."""

    def between(easy: float, hard: float) -> float:
        return (1 - difficulty) * easy + difficulty * hard

    return Mixture(
        own=between(EASY.own, HARD.own),
        siblings=between(EASY.siblings, HARD.siblings),
        stray=between(EASY.stray, HARD.stray),
        thin=between(EASY.thin, HARD.thin),
    )


def _telling_probabilities(parts: Mixture, seed: int) -> Floats:
    """Return P(telling word | topic) as (T, own words of all topics)."""
    own = _spread([words.own for words in TOPICS.values()], np.random.default_rng([seed, 0]))
    family = np.array([words.family for words in TOPICS.values()])
    siblings = (family[:, None] == family) & ~np.eye(len(family), dtype=bool)
    sibling_share = siblings / siblings.sum(axis=1, keepdims=True)
    return parts.own * own + parts.siblings * sibling_share @ own + parts.stray * own.mean(axis=0)


def _family_probabilities(parts: Mixture, seed: int) -> Floats:
    """Return P(family word | topic) as (T, words of all families)."""
    shared = _spread(list(FAMILIES.values()), np.random.default_rng([seed, 1]))
    order = list(FAMILIES)
    own = shared[[order.index(words.family) for words in TOPICS.values()]]
    return (1 - parts.stray) * own + parts.stray * shared.mean(axis=0)


def _spread(lists: Sequence[Sequence[str]], rng: np.random.Generator) -> Floats:
    """Return one distribution per list, over the words of all lists in a row, zero outside its own.

    Frequencies are uniform between 0.5 and 1.5, then normalised: as in prose some words are commoner than others, and
    none is too rare to be learned.
    """
    owner = np.repeat(np.arange(len(lists)), [len(words) for words in lists])
    frequencies = rng.uniform(0.5, 1.5, size=len(owner)) * (owner == np.arange(len(lists))[:, None])
    return frequencies / frequencies.sum(axis=1, keepdims=True)


def _draw_rows(
    probabilities: Floats, rows: NDArray[np.int64], width: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw `width` column indices for each of `rows` (n,), with the probabilities of that row, as (n, width)."""
    draws = rng.random((len(rows), width))
    drawn = np.zeros(draws.shape, dtype=np.int64)
    for row, shares in enumerate(probabilities):
        # The last edge is left out: rounding may leave it just under one.
        edges = shares.cumsum()[:-1]
        drawn[rows == row] = np.searchsorted(edges, draws[rows == row], side="right")
    return drawn
