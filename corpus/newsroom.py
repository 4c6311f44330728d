"""The newsroom: a synthetic corpus whose P(text | topic) is known, hence its exact posterior and Bayes ceiling.

A text states three facts and K content words in topic-neutral sentences. K, the facts and the layout are drawn without
looking at the topic; the content words are drawn independently from the topic's mixture of word lists, so

    log P(text | topic) = sum over content words w of log P(w | topic)  +  log P(K, facts, layout),

and the last term is the constant that every topic shares. Content words are recognised by themselves, so the sum is
computed from the text alone, also for texts read back from a file.

Knows nothing of files or models; `newsroom_files` writes the demo's files.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import UserError
from .newsroom_text import draw_facts, fill_up, lay_out, lower_words, write_target
from .newsroom_words import FAMILIES, TOPICAL_WORDS, TOPICS
from .records import Record

Floats = NDArray[np.float64]
Seed = int | Sequence[int]


@dataclass(frozen=True, slots=True)
class Mixture:
    """How likely a content word comes from each kind of list; sums to one.

    `own`: the topic's own words; `siblings`: the own words of its siblings; `family`: what the siblings share evenly;
    `common`: what all topics share evenly; `stray`: any topical word at all, so that no text is impossible.
    """

    own: float
    siblings: float
    family: float
    stray: float


# The two ends of `difficulty`. At 1 siblings cannot be told apart: own words are no likelier than those of either sibling.
EASY = Mixture(own=0.70, siblings=0.02, family=0.24, stray=0.04)
HARD = Mixture(own=0.24, siblings=0.48, family=0.24, stray=0.04)

SIBLING_PULL = 4.0
"""How many times likelier a wrong label falls on a sibling than on another topic of the same frequency."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A Monte-Carlo figure and its standard error."""

    value: float
    standard_error: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.standard_error:.3f}"


class Newsroom:
    """A generative corpus of twelve topics in four families, with its exact posterior.

    Args:
        difficulty: from 0 (topics hardly overlap) to 1 (siblings cannot be told apart).
        seed: the world: it fixes how frequent each word is within its list. Samples have seeds of their own.

    Raises:
        UserError: if `difficulty` is outside [0, 1].
    """

    def __init__(self, difficulty: float = 0.5, seed: int = 0) -> None:
        if not 0 <= difficulty <= 1:
            raise UserError(f"newsroom: difficulty is {difficulty}; give a number from 0 to 1")
        self.difficulty = difficulty
        self.seed = seed
        self.topics: tuple[str, ...] = tuple(TOPICS)
        self.families: tuple[str, ...] = tuple(words.family for words in TOPICS.values())
        self._words, self.word_probabilities = _word_probabilities(mixture(difficulty), seed)
        self._word_index = {word: i for i, word in enumerate(self._words)}
        self._log_words = np.log(self.word_probabilities)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The content words, in the order of the columns of `word_probabilities` (T, V)."""
        return self._words

    def long_tail_counts(self, largest: int, ratio: float = 100.0) -> tuple[int, ...]:
        """Return a row count per topic, falling geometrically from `largest` to `largest / ratio`, at least one."""
        steps = np.arange(len(self.topics)) / (len(self.topics) - 1)
        return tuple(max(1, round(count)) for count in largest * ratio**-steps)

    def sample(self, n: int, prior: ArrayLike | None = None, seed: Seed = 0, name: str = "row") -> list[Record]:
        """Draw `n` records with topics from `prior` (T,), uniform if not given; ids are `name-1`, `name-2`, ..."""
        rng = np.random.default_rng(seed)
        return self._records(rng.choice(len(self.topics), size=n, p=self._checked_prior(prior)), rng, name)

    def sample_counts(self, counts: Sequence[int], seed: Seed = 0, name: str = "row") -> list[Record]:
        """Draw exactly `counts[t]` records of each topic t, in random order."""
        if len(counts) != len(self.topics):
            raise UserError(f"newsroom: {len(counts)} counts for {len(self.topics)} topics; give one per topic")
        rng = np.random.default_rng(seed)
        return self._records(rng.permutation(np.repeat(np.arange(len(self.topics)), counts)), rng, name)

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
            raise UserError(f"newsroom: {unknown} is no newsroom topic; choose from {', '.join(self.topics)}") from None

    def log_likelihood(self, texts: Sequence[str]) -> Floats:
        """Return log P(text | topic) as (n, T), in nats, up to the constant log P(K, facts, layout) of each row.

        Exact for newsroom texts. In other texts only the newsroom's content words count; none means a row of zeros.
        """
        result = np.zeros((len(texts), len(self.topics)))
        for row, text in zip(result, texts, strict=True):
            words = [self._word_index[word] for word in lower_words(text) if word in self._word_index]
            row[:] = self._log_words[:, words].sum(axis=1)
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
        log_likelihood = (self._log_words[:, words] * used).sum(axis=2).T
        right = self._posterior(log_likelihood, prior).argmax(axis=1) == true
        recall = right.reshape(len(self.topics), rows_per_topic).mean(axis=1)
        error = np.sqrt((recall * (1 - recall)).sum() / rows_per_topic) / len(self.topics)
        return Estimate(float(recall.mean()), float(error))

    def _records(self, topics: NDArray[np.int64], rng: np.random.Generator, name: str) -> list[Record]:
        words, used = self._draw_words(topics, rng)
        topical = [
            [self._words[w] for w in row[:length]]
            for row, length in zip(words.tolist(), used.sum(axis=1).tolist(), strict=True)
        ]
        contents = fill_up(topical, rng)
        facts = draw_facts(len(topics), rng)
        texts = lay_out(contents, facts, rng)
        names = [self.topics[t] for t in topics]
        return [
            Record(text=text, id=f"{name}-{i}", topic=topic, target=write_target(topic, stated))
            for i, (text, topic, stated) in enumerate(zip(texts, names, facts, strict=True), start=1)
        ]

    def _draw_words(
        self, topics: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Draw (n, K_max) topical word indices and the mask of those in use: the first K of each row."""
        fewest, most = TOPICAL_WORDS
        lengths = rng.integers(fewest, most + 1, size=len(topics))
        draws = rng.random((len(topics), most))
        words = np.zeros(draws.shape, dtype=np.int64)
        for t, probabilities in enumerate(self.word_probabilities):
            # The last edge is left out: rounding may leave it just under one.
            edges = probabilities.cumsum()[:-1]
            words[topics == t] = np.searchsorted(edges, draws[topics == t], side="right")
        return words, np.arange(most) < lengths[:, None]

    def _posterior(self, log_likelihood: Floats, prior: ArrayLike | None) -> Floats:
        with np.errstate(divide="ignore"):  # a prior may rule topics out
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
    return Mixture(
        **{part: (1 - difficulty) * getattr(EASY, part) + difficulty * getattr(HARD, part) for part in Mixture.__slots__}
    )


def _word_probabilities(parts: Mixture, seed: int) -> tuple[tuple[str, ...], Floats]:
    """Return the content words and P(word | topic) as (T, V).

    Within a list, words have frequencies drawn once from a uniform between 0.5 and 1.5, normalised: some are
    commoner than others, as in prose, and none is too rare to be learned.
    """
    rng = np.random.default_rng(seed)
    lists = {**{topic: words.own for topic, words in TOPICS.items()}, **FAMILIES}
    vocabulary = tuple(word for words in lists.values() for word in words)
    spread: dict[str, Floats] = {}
    start = 0
    for key, words in lists.items():
        row = np.zeros(len(vocabulary))
        frequencies = rng.uniform(0.5, 1.5, size=len(words))
        row[start : start + len(words)] = frequencies / frequencies.sum()
        spread[key] = row
        start += len(words)
    stray = np.mean(list(spread.values()), axis=0)
    rows = []
    for topic, words in TOPICS.items():
        siblings = [spread[other] for other, its in TOPICS.items() if its.family == words.family and other != topic]
        rows.append(
            parts.own * spread[topic]
            + parts.siblings * np.mean(siblings, axis=0)
            + parts.family * spread[words.family]
            + parts.stray * stray
        )
    return vocabulary, np.array(rows)
