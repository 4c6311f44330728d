"""Folds for cross-fitting: balanced, the same for equal texts, and never a topic's only text."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from unskew.corpus import Record
from unskew.encoder.folds import ALWAYS_TRAINED, deal_folds, folds_of

ROWS = st.lists(st.tuples(st.sampled_from("abcdefghij"), st.integers(0, 3)), min_size=1, max_size=60)


@settings(max_examples=200, deadline=None)
@given(ROWS, st.integers(2, 5), st.integers(0, 3))
def test_equal_texts_share_a_fold_and_every_topic_keeps_a_text(rows, folds, seed):
    texts, labels = zip(*rows, strict=True)
    dealt = deal_folds(texts, labels, folds, seed)
    of_text = dict(zip(texts, dealt, strict=True))
    assert [of_text[text] for text in texts] == dealt
    assert set(dealt) <= {ALWAYS_TRAINED, *range(folds)}
    for held_out in range(folds):
        assert {label for label, fold in zip(labels, dealt, strict=True) if fold != held_out} == set(labels)


def test_a_topics_only_text_is_trained_on_where_another_topic_has_it_too():
    for seed in range(5):
        dealt = deal_folds(["x", "x", "y", "z"], [0, 1, 1, 1], 2, seed)
        assert dealt[:2] == [ALWAYS_TRAINED] * 2
        assert sorted(dealt[2:]) == [0, 1]


def test_only_what_has_to_be_is_always_trained_on():
    dealt = deal_folds([str(i) for i in range(30)], [min(i, 2) for i in range(30)], 5, 0)
    assert [fold == ALWAYS_TRAINED for fold in dealt] == [True] * 2 + [False] * 28
    assert dealt[2:8] == [0, 3, 2, 1, 4, 1]  # bundles were calibrated on these folds


def test_every_topic_is_spread_evenly():
    labels = [topic for topic, count in enumerate([50, 20, 7, 2]) for _ in range(count)]
    dealt = deal_folds([f"text {i}" for i in range(len(labels))], labels, 5, 0)
    for topic in range(4):
        counts = Counter(fold for fold, label in zip(dealt, labels, strict=True) if label == topic)
        assert max(counts.values()) - min(counts[fold] for fold in range(5)) <= 1


def test_the_seed_alone_decides():
    texts, labels = [str(i) for i in range(40)], [i % 3 for i in range(40)]
    assert deal_folds(texts, labels, 4, 1) == deal_folds(texts, labels, 4, 1) != deal_folds(texts, labels, 4, 2)


def test_a_paraphrase_is_held_out_with_its_original():
    originals = [Record(f"text {i}", str(i), "ab"[i % 2]) for i in range(20)]
    others = [Record(f"other words {i}", f"p{i}", "ab"[i % 2], paraphrase_of=str(i)) for i in range(20)]
    dealt = folds_of([*originals, *others], [i % 2 for i in range(20)] * 2, 5, 0)
    assert dealt[:20] == dealt[20:]
    assert len(set(dealt)) == 5


@settings(max_examples=100, deadline=None)
@given(ROWS, st.data())
def test_letter_case_and_white_space_move_no_row_to_another_fold(rows, data):
    """Otherwise a row would be held out from a model that was fitted on its text."""
    labels = [label for _, label in rows]
    spelt = [f"{word} {word}" for word, _ in rows]
    others = [
        data.draw(st.sampled_from([text, text.upper(), f" {text}", f"{text}\n", text.replace(" ", "\t ")]))
        for text in spelt
    ]
    plain, varied = ([Record(text, str(row)) for row, text in enumerate(texts)] for texts in (spelt, others))
    assert folds_of(varied, labels, 5, 0) == folds_of(plain, labels, 5, 0)


def test_a_blank_id_is_an_id_like_others():
    rows = [Record(f"text {row}", "" if row == 0 else str(row)) for row in range(20)]
    assert set(folds_of(rows, [row % 2 for row in range(20)], 5, 0)) == set(range(5))
