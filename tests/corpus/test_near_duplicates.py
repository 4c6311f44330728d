"""Texts that are nearly the same are found, others are not."""

from hypothesis import given
from hypothesis import strategies as st

from unskew.corpus import NearDuplicates

WORDS = st.lists(st.sampled_from([f"word{i}" for i in range(200)]), min_size=12, max_size=40, unique=True)


@given(WORDS, st.integers(0, 200))
def test_one_changed_word_of_many_is_a_near_duplicate_and_other_words_are_not(words, place):
    known = NearDuplicates(0.4)
    known.add("first", " ".join(words))
    changed = [*words]
    changed[place % len(words)] = "other"
    assert known.like("  ".join(changed).upper()) == "first"
    assert known.like(" ".join(f"{word}x" for word in words)) is None


def test_short_texts_and_scripts_without_spaces_are_compared_by_characters():
    known = NearDuplicates(0.7)
    known.add("zh", "今日油价在早盘交易中再次上涨分析师表示需求强劲")
    assert known.like("今日油价在早盘交易中再次上涨分析师表示需求强") == "zh"
    assert known.like("法院判决一家公司支付罚款") is None
    assert NearDuplicates(0.7).like("") is None
