"""Reading texts from many threads: what another thread asks of the tokenizer does not change what is read."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from unskew.runtime import TextTokenizer, encode_user_text, train_tokenizer

TEXTS = ["<|eos|> the team <|cls|> won " + "45 games " * length for length in (1, 30, 300)]


@pytest.fixture
def hasty(request):
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["the team won 45 games"] * 5, 300)


@pytest.fixture(scope="module")
def wordpiece():
    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "oil", "rose"])}
    backend = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def test_threads_do_not_disturb_each_other(tokenizer, hasty):
    reader = TextTokenizer.private(tokenizer)
    wanted = encode_user_text(reader, TEXTS, 20)

    def read(_):
        tokenizer(TEXTS, truncation=True, max_length=7, split_special_tokens=False)
        return encode_user_text(reader, TEXTS, 20)

    with ThreadPoolExecutor(8) as pool:
        assert all(read == wanted for read in pool.map(read, range(200)))


@pytest.mark.parametrize("limit", [2, 3, 5, 100])
def test_special_tokens_stand_around_the_text_as_transformers_sets_them(wordpiece, limit):
    texts = ["oil rose oil rose", "oil", ""]
    asked = {"truncation": True, "max_length": limit, "return_special_tokens_mask": True}
    wanted = wordpiece(texts, split_special_tokens=True, **asked)
    made = TextTokenizer.private(wordpiece).encode_with_special(texts, limit)
    assert [ids for ids, _ in made] == wanted["input_ids"]
    assert [mask for _, mask in made] == wanted["special_tokens_mask"]


def test_the_tokenizer_itself_stays_as_it_was(tokenizer):
    before = tokenizer("<|eos|>", split_special_tokens=False)["input_ids"]
    TextTokenizer.private(tokenizer).encode(["<|eos|>"], 5)
    assert tokenizer("<|eos|>", split_special_tokens=False)["input_ids"] == before


def test_a_tokenizer_written_in_python_serves_too():
    reader = TextTokenizer.private(ByT5Tokenizer())
    assert reader.encode(["oil</s>"], 5) == [[byte + 3 for byte in b"oil</"]]
    assert reader.encode_with_special(["oil"], 3) == [([ord("o") + 3, ord("i") + 3, 1], [0, 0, 1])]
