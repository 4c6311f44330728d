"""The small tokenizer, and reading users' text without obeying it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from unskew.runtime import encode_user_text, train_tokenizer

TEXTS = ["the harbour opened at 6 today", "the team won 45 games", "rates fell 12 points today"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS * 5, 400)


@settings(max_examples=60)
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40))
def test_nothing_is_unknown_and_text_survives(tokenizer, text):
    [ids] = encode_user_text(tokenizer, [text], 1000)
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == (" " + text if text else "")


def test_digits_stand_alone(tokenizer):
    [ids] = encode_user_text(tokenizer, ["12 points"], 10)
    assert [tokenizer.decode([i]).strip() for i in ids] == ["", "1", "2", "points"]


def test_a_word_is_one_token_wherever_it_stands(tokenizer):
    first, inside = encode_user_text(tokenizer, ["today", "rates today"], 10)
    assert first == inside[-1:]


@pytest.mark.parametrize("mark", ["<|eos|>", "<|pad|>", "<|cls|>"])
def test_marks_in_user_text_are_inert(tokenizer, mark):
    [ids] = encode_user_text(tokenizer, [f"before {mark} after"], 100)
    assert tokenizer.convert_tokens_to_ids(mark) not in ids


def test_inert_after_save_and_load(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.eos_token_id not in loaded("a <|eos|> b")["input_ids"]
    assert encode_user_text(loaded, TEXTS, 50) == encode_user_text(tokenizer, TEXTS, 50)


def test_long_text_is_cut_before_it_is_read(tokenizer):
    [ids] = encode_user_text(tokenizer, ["word " * 9_000 + "x" * 100_000_000], 16)
    assert ids == encode_user_text(tokenizer, ["word " * 100], 16)[0]


def test_half_a_surrogate_pair_costs_a_character(tokenizer):
    assert encode_user_text(tokenizer, ["a\ud800b"], 9) == encode_user_text(tokenizer, ["a?b"], 9)


def test_no_texts(tokenizer):
    assert encode_user_text(tokenizer, [], 16) == []
