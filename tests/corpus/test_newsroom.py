"""The newsroom's likelihood, posterior and ceiling against independent recomputation and its own samples."""

import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from unskew.common import UserError
from unskew.corpus import Newsroom, Record
from unskew.corpus.newsroom_words import (
    COMMON,
    CONTENT_FRAMES,
    FACT_FRAMES,
    FAMILIES,
    FAMILY_WORDS,
    PEOPLE,
    PLACES,
    TELLING_WORDS,
    TOPICS,
)

ROOM = Newsroom()
PRIORS = st.lists(st.floats(0.01, 1e6), min_size=12, max_size=12)


def long_tail() -> np.ndarray:
    counts = np.array(ROOM.long_tail_counts(500))
    return counts / counts.sum()


@pytest.fixture(scope="module")
def balanced() -> list[Record]:
    return ROOM.sample(6000, seed=11)


def words_of(text: str) -> list[str]:
    return [word.strip(".,:").lower() for word in text.split()]


def facts_of(text: str) -> tuple[str, str, str]:
    """The facts as a reader finds them: the words that are in a closed list, and the one number."""
    bare = [word.strip(".,:") for word in text.split()]
    (name,) = [word for word in bare if word in PEOPLE]
    (place,) = [word for word in bare if word in PLACES]
    (number,) = re.findall(r"\d+", text)
    return name, place, number


def brute_force_posterior(room: Newsroom, text: str, prior: np.ndarray) -> np.ndarray:
    """Bayes' rule by hand: a word's frequency within its list cancels, the mixture's shares are what is left."""
    parts = room.mixture
    scores = []
    for topic, share in zip(TOPICS, prior, strict=True):
        siblings = [t for t, w in TOPICS.items() if w.family == TOPICS[topic].family and t != topic]
        score = float(share)
        for word in words_of(text):
            if word in TOPICS[topic].own:
                score *= parts.own + parts.stray / 12
            elif any(word in TOPICS[sibling].own for sibling in siblings):
                score *= parts.siblings / 2 + parts.stray / 12
            elif any(word in words.own for words in TOPICS.values()):
                score *= parts.stray / 12
            elif word in FAMILIES[TOPICS[topic].family]:
                score *= 1 - parts.stray + parts.stray / 4
            elif any(word in words for words in FAMILIES.values()):
                score *= parts.stray / 4
        scores.append(score)
    return np.array(scores) / sum(scores)


# --- the words -------------------------------------------------------------------------------------------------------


def test_every_word_belongs_to_one_list_only():
    frames = {word for frame in CONTENT_FRAMES for word in words_of(frame)}
    frames |= {word for plan in FACT_FRAMES for frame in plan for word in words_of(frame)}
    lists = [words.own for words in TOPICS.values()] + list(FAMILIES.values()) + [COMMON, PEOPLE, PLACES, tuple(frames)]
    seen = Counter(word.lower() for words in lists for word in words)
    assert [word for word, times in seen.items() if times > 1] == []


def test_topics_are_four_families_of_three_in_turns():
    assert Counter(ROOM.families) == dict.fromkeys(FAMILIES, 3)
    assert all(len(set(ROOM.families[start : start + 4])) == 4 for start in (0, 4, 8))


@pytest.mark.parametrize("part", ["telling", "family"])
def test_word_frequencies_of_samples_match_the_stated_probabilities(part):
    records = ROOM.sample_counts([0, 0, 0, 3000, *[0] * 8], seed=2)
    telling = {word for words in TOPICS.values() for word in words.own}
    columns = [i for i, word in enumerate(ROOM.vocabulary) if (word in telling) == (part == "telling")]
    expected = np.exp(ROOM.log_words[3, columns])
    counts = Counter(word for record in records for word in words_of(record.text))
    observed = np.array([counts[ROOM.vocabulary[i]] for i in columns])
    assert expected.sum() == pytest.approx(1)
    spread = np.sqrt(observed.sum() * expected * (1 - expected))
    assert (np.abs(observed - observed.sum() * expected) < 4.5 * spread + 1).all()


# --- texts and targets -----------------------------------------------------------------------------------------------


def test_texts_have_the_promised_length_and_number_of_words(balanced):
    own = {word for words in TOPICS.values() for word in words.own}
    shared = {word for words in FAMILIES.values() for word in words}
    thin = 0
    for record in balanced:
        words = words_of(record.text)
        telling = sum(word in own for word in words)
        thin += telling == 0
        assert 35 <= len(words) <= 55
        assert telling == 0 or TELLING_WORDS[0] <= telling <= TELLING_WORDS[1]
        assert FAMILY_WORDS[0] <= sum(word in shared for word in words) <= FAMILY_WORDS[1]
    share = ROOM.mixture.thin
    assert abs(thin / len(balanced) - share) < 4 * math.sqrt(share * (1 - share) / len(balanced))


def test_texts_are_all_different(balanced):
    assert len({record.text for record in balanced}) == len(balanced)


def test_target_states_the_facts_of_its_text_in_10_to_16_words(balanced):
    for record in balanced:
        assert facts_of(str(record.target)) == facts_of(record.text)
        assert 10 <= len(str(record.target).split()) <= 16


def test_a_fact_has_a_space_before_it_in_text_and_target(balanced):
    for record in balanced[:500]:
        for fact in facts_of(record.text):
            assert f" {fact}" in record.text
            assert f" {fact}" in str(record.target)


def test_target_needs_the_topic(balanced):
    styles = set()
    for record in balanced:
        name, place, number = facts_of(record.text)
        style = str(record.target).replace(name, "N").replace(place, "P").replace(number, "#")
        styles.add((record.topic, style))
    assert len(styles) == len({style for _, style in styles}) == 12
    for part in (0, -1):  # opening and closing word
        assert len({style.split()[part] for _, style in styles}) >= 4
    assert len({style.split("#")[1].split()[0] for _, style in styles}) == 12  # unit noun
    assert len({style.split("N")[-1].split()[0] for _, style in styles}) == 12  # verb


def test_facts_and_layout_do_not_depend_on_the_topic(balanced):
    true = ROOM.topic_indices(balanced)
    stated = [(*facts_of(record.text)[:2], record.text.split()[0]) for record in balanced]
    for column in zip(*stated, strict=True):  # names, places, opening words
        kinds, kind = np.unique(column, return_inverse=True)
        table = np.zeros((12, len(kinds)))
        np.add.at(table, (true, kind), 1)
        assert chi2_contingency(table).pvalue > 1e-4


def test_samples_are_fixed_by_their_seed():
    assert ROOM.sample(40, seed=3) == Newsroom().sample(40, seed=3)
    assert ROOM.sample(40, seed=3) != ROOM.sample(40, seed=4)
    assert ROOM.sample(40, seed=3) != Newsroom(seed=1).sample(40, seed=3)


def test_sample_counts_are_exact_and_sample_follows_the_prior():
    counts = [7, 0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 2]
    exact = Counter(record.topic for record in ROOM.sample_counts(counts, seed=5))
    assert [exact[topic] for topic in ROOM.topics] == counts
    drawn = Counter(record.topic for record in ROOM.sample(5000, long_tail(), seed=5))
    for topic, share in zip(ROOM.topics, long_tail(), strict=True):
        assert abs(drawn[topic] - 5000 * share) < 4.5 * math.sqrt(5000 * share)


def test_long_tail_counts():
    counts = ROOM.long_tail_counts(500)
    assert (counts[0], counts[-1]) == (500, 5)
    assert 1400 <= sum(counts) <= 1500
    assert list(counts) == sorted(counts, reverse=True)
    assert min(ROOM.long_tail_counts(20, ratio=1000)) == 1


# --- likelihood and posterior ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("difficulty", [0.2, 0.5, 0.9])
def test_posterior_is_bayes_rule_by_hand(difficulty):
    room = Newsroom(difficulty, seed=4)
    prior = np.arange(1, 13) / 78
    texts = [record.text for record in room.sample(30, seed=1)]
    for text, row in zip(texts, room.posterior(texts, prior), strict=True):
        np.testing.assert_allclose(row, brute_force_posterior(room, text, prior), rtol=1e-9, atol=1e-300)


def test_log_likelihood_adds_up_the_words_of_the_text():
    text = "Rivera saw CRUDE, owls; owls and prices in Oslo, and nothing else."
    column = ROOM.vocabulary.index
    expected = sum(ROOM.log_words[:, column(word)] for word in ("crude", "owls", "owls", "prices"))
    np.testing.assert_allclose(ROOM.log_likelihood([text])[0], expected, rtol=1e-12)
    assert not ROOM.log_likelihood(["", "Rivera waits in Oslo", "\x00 🎉"]).any()


@given(prior=PRIORS, text=st.one_of(st.text(), st.lists(st.sampled_from(ROOM.vocabulary), max_size=60).map(" ".join)))
def test_posterior_rows_are_distributions_for_any_text_and_prior(prior, text):
    rows = ROOM.posterior([text, "no word of ours"], prior)
    assert (rows >= 0).all()
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(rows[1], np.array(prior) / sum(prior), rtol=1e-9)


def test_posterior_is_zero_where_the_prior_is():
    texts = [record.text for record in ROOM.sample(50, seed=1)]
    rows = ROOM.posterior(texts, [0, *[1] * 11])
    assert not rows[:, 0].any()
    np.testing.assert_allclose(rows.sum(axis=1), 1)


def calibration_gaps(probabilities: np.ndarray, right: np.ndarray) -> list[float]:
    """Per tenth of the stated probability, observed minus stated share in standard errors."""
    bins = np.minimum((probabilities * 10).astype(int), 9)
    gaps = []
    for b in range(10):
        stated, seen = probabilities[bins == b], right[bins == b]
        error = math.sqrt((stated * (1 - stated)).sum())
        if error > 1:
            gaps.append((seen.sum() - stated.sum()) / error)
    return gaps


def test_posterior_is_calibrated_under_its_own_prior_and_not_under_another():
    records = ROOM.sample(15_000, long_tail(), seed=7)
    texts, true = [record.text for record in records], ROOM.topic_indices(records)
    right = np.arange(12) == true[:, None]
    copied, free = ROOM.posterior(texts, long_tail()), ROOM.posterior(texts)
    gaps = calibration_gaps(copied.ravel(), right.ravel())
    assert len(gaps) == 10
    assert max(map(abs, gaps)) < 4
    frequent = [calibration_gaps(posterior[:, 0], right[:, 0]) for posterior in (copied, free)]
    assert max(map(abs, frequent[0])) < 4 < 8 < max(frequent[1])


# --- the ceiling -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_ceiling_at_the_default_difficulty_is_where_it_should_be(seed):
    ceiling = Newsroom(seed=seed).bayes_balanced_accuracy(rows_per_topic=1000)
    assert 0.90 < ceiling.value < 0.93
    assert ceiling.standard_error < 0.005


def test_ceiling_agrees_with_the_bayes_rule_on_texts(balanced):
    ceiling = ROOM.bayes_balanced_accuracy(rows_per_topic=2000)
    recall = ROOM.bayes_recall(balanced)
    assert list(recall) == list(ROOM.topics)
    on_texts = np.mean(list(recall.values()))
    error = math.hypot(ceiling.standard_error, math.sqrt(0.9 * 0.1 / len(balanced)))
    assert abs(on_texts - ceiling.value) < 4 * error
    predicted = ROOM.bayes_predict([record.text for record in balanced])
    first = ROOM.topics[0]
    of_first = [topic for topic, record in zip(predicted, balanced, strict=True) if record.topic == first]
    assert recall[first] == of_first.count(first) / len(of_first)


def test_harder_means_a_lower_ceiling_down_to_a_guess_among_siblings():
    steps = [Newsroom(d).bayes_balanced_accuracy(rows_per_topic=1000) for d in (0, 0.25, 0.5, 0.75, 1)]
    for easier, harder in zip(steps, steps[1:], strict=False):
        assert easier.value > harder.value + 4 * math.hypot(easier.standard_error, harder.standard_error)
    assert steps[0].value > 0.99
    assert abs(steps[-1].value - 1 / 3) < 0.02


def test_siblings_are_confused_with_siblings(balanced):
    predicted = ROOM.bayes_predict([record.text for record in balanced])
    wrong = [(str(r.topic), topic) for r, topic in zip(balanced, predicted, strict=True) if r.topic != topic]
    assert np.mean([TOPICS[a].family == TOPICS[b].family for a, b in wrong]) > 0.9


def test_believing_the_training_prior_costs_balanced_accuracy():
    free, copied = (ROOM.bayes_balanced_accuracy(prior, rows_per_topic=2000) for prior in (None, long_tail()))
    assert free.value - copied.value > 0.015


def test_a_plain_classifier_on_the_clean_set_loses_the_rare_topics(balanced):
    train = ROOM.sample_counts(ROOM.long_tail_counts(500), seed=8)
    counter = CountVectorizer()
    model = LogisticRegression(max_iter=300)
    model.fit(counter.fit_transform([record.text for record in train]), ROOM.topic_indices(train))
    predicted = model.predict(counter.transform([record.text for record in balanced]))
    true = ROOM.topic_indices(balanced)
    many, few = ((predicted == true)[np.isin(true, band)].mean() for band in (range(4), range(8, 12)))
    assert many > 0.9
    assert few < 0.6


# --- noise -----------------------------------------------------------------------------------------------------------


@given(rate=st.floats(0, 1), prior=PRIORS)
def test_transition_rows_are_distributions_with_the_rate_off_the_diagonal(rate, prior):
    matrix = ROOM.transition(rate, prior)
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    np.testing.assert_allclose(np.diag(matrix), 1 - rate, atol=1e-12)


def test_labels_flip_toward_frequent_topics_and_siblings():
    matrix = ROOM.transition(0.3)
    assert matrix[5, 0] > matrix[5, 3] > matrix[5, 10]  # rarer and rarer, none a sibling
    sibling, stranger = ROOM.transition(0.3, np.ones(12))[0, [4, 5]]
    assert sibling == pytest.approx(3 * stranger)


def test_flips_match_the_transition_and_leave_text_and_target():
    records = ROOM.sample(12_000, seed=9)
    noisy = ROOM.flip(records, 0.4, long_tail(), seed=10)
    assert [(r.text, r.id, r.target) for r in noisy] == [(r.text, r.id, r.target) for r in records]
    true, given_topic = ROOM.topic_indices(records), ROOM.topic_indices(noisy)
    matrix = ROOM.transition(0.4, long_tail())
    for i in range(12):
        n = (true == i).sum()
        seen = np.bincount(given_topic[true == i], minlength=12)
        assert (np.abs(seen - n * matrix[i]) < 4.5 * np.sqrt(n * matrix[i] * (1 - matrix[i])) + 1).all()
    assert ROOM.flip(records, 0.0) == records
    assert ROOM.flip(records, 0.4, long_tail(), seed=10) == noisy


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: Newsroom(1.5), "difficulty is 1.5"),
        (lambda: ROOM.sample(3, [1, 2]), "one per topic"),
        (lambda: ROOM.sample(3, [-1, *[1] * 11]), "non-negative"),
        (lambda: ROOM.posterior(["x"], [0] * 12), "non-negative"),
        (lambda: ROOM.sample_counts([1, 2]), "2 counts"),
        (lambda: ROOM.transition(2), "flip rate is 2"),
        (lambda: ROOM.transition(0.3, [1, *[0] * 11]), "only one topic"),
        (lambda: ROOM.long_tail_counts(10, 0.5), "ratio 0.5"),
        (lambda: ROOM.flip([Record("a", "1", "gossip")]), "'gossip' is not a newsroom topic"),
    ],
)
def test_a_mistake_is_said_in_one_line(mistake, message):
    with pytest.raises(UserError, match=message) as caught:
        mistake()
    assert "\n" not in str(caught.value)
