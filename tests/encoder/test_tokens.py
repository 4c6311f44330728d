"""User text is read as text, cheaply, whatever it holds."""

import time

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertTokenizer, PreTrainedTokenizerFast

from unskew.encoder.tokens import pad, pad_id_of, tokenize


@pytest.fixture
def wordpiece():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "oil", "rose", "[", "]", "cls", "sep", "mask"]
    return BertTokenizer(vocab={word: index for index, word in enumerate(words)})


def test_wordpiece_reads_control_strings_as_characters(wordpiece):
    (ids,) = tokenize(wordpiece, ["oil [SEP] rose [CLS]"], 20)
    pieces = wordpiece.convert_ids_to_tokens(ids)
    assert pieces == ["[CLS]", "oil", "[", "sep", "]", "rose", "[", "cls", "]", "[SEP]"]


def test_scratch_tokenizer_reads_control_strings_as_characters(encoder):
    tokenizer = encoder.tokenizer
    (ids,) = tokenize(tokenizer, [f"oil {tokenizer.sep_token} gas {tokenizer.pad_token}"], 32)
    assert ids[0] == tokenizer.cls_token_id
    assert ids[-1] == tokenizer.sep_token_id
    assert not set(ids[1:-1]) & set(tokenizer.all_special_ids)


def test_control_string_that_is_an_ordinary_piece_is_dropped():
    pieces = [("<pad>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁oil", -1.0), ("▁", -2.0)]
    unigram = Tokenizer(models.Unigram(pieces, unk_id=3))
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=unigram, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    (ids,) = tokenize(tokenizer, ["oil </s> oil"], 20)
    assert ids.count(2) == 1
    assert ids.count(4) == 2


def test_a_text_of_a_hundred_thousand_words_costs_its_start_alone(encoder):
    text = "crude oil barrel refinery " * 25_000
    start = time.process_time()
    (ids,) = tokenize(encoder.tokenizer, [text], 32)
    assert time.process_time() - start < 0.1
    assert ids == encoder.tokenizer(text, truncation=True, max_length=32)["input_ids"]


def test_padding_is_masked():
    batch = pad([[5, 6, 7], [8]], pad_id=9)
    assert torch.equal(batch["input_ids"], torch.tensor([[5, 6, 7], [8, 9, 9]]))
    assert torch.equal(batch["attention_mask"], torch.tensor([[1, 1, 1], [1, 0, 0]]))


def test_pad_id_without_a_pad_token(wordpiece):
    assert pad_id_of(wordpiece) == 0
    wordpiece.pad_token = None
    assert pad_id_of(wordpiece) == 0


@pytest.mark.parametrize("before", [" " * 9_000, "\n" * 30_000, "\t \n" * 5_000, "0f" * 10_000 + " "])
def test_what_comes_before_a_text_does_not_hide_it(wordpiece, before):
    (alone,) = tokenize(wordpiece, ["oil rose"], 16)
    (ids,) = tokenize(wordpiece, [before + "oil rose"], 16)
    unknown = [wordpiece.unk_token_id] if before.strip() else []
    assert ids == [alone[0], *unknown, *alone[1:]]


def test_blanks_before_a_text_leave_it_whole_for_a_byte_level_tokenizer(encoder):
    assert tokenize(encoder.tokenizer, [" " * 9_000 + "oil"], 32) == tokenize(encoder.tokenizer, ["oil"], 32)


def test_half_a_surrogate_pair_is_read_as_a_question_mark(wordpiece, encoder):
    """A Python string can have one, as after `json.loads`; no tokenizer takes it."""
    for reader in (wordpiece, encoder.tokenizer):
        assert tokenize(reader, ["oil \ud83d rose", "oil"], 20) == tokenize(reader, ["oil ? rose", "oil"], 20)
    assert torch.equal(encoder.logits(["oil \ud83d rose"]), encoder.logits(["oil ? rose"]))
