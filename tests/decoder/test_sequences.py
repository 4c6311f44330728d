import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel

from unskew.common import UserError
from unskew.decoder import ControlTokens
from unskew.decoder.base import load_model, load_tokenizer
from unskew.decoder.prompts import Prompt
from unskew.decoder.sequences import Sequencer, last_logits, pad_left
from unskew.runtime import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer(shared_base):
    tokenizer = load_tokenizer(shared_base)
    ControlTokens.add(tokenizer, ["oil"])
    return tokenizer


@pytest.fixture(scope="module")
def control(tokenizer):
    return ControlTokens.add(tokenizer, ["oil"])


def test_the_parts_stand_in_order(tokenizer, control):
    sequencer = Sequencer(tokenizer, control, Prompt("A:", ":Z"), 64)
    text = tokenizer("prices rose", add_special_tokens=False)["input_ids"]
    before, after = Prompt("A:", ":Z").encode(tokenizer)
    assert sequencer.prompts(["prices rose"]) == [[*before, *text, *after]]
    assert sequencer.prompts(["prices rose"], fairness=True) == [[*before, *text, *after, control.fairness_id]]


def test_a_topic_in_text_is_a_line_of_plain_tokens():
    own = train_tokenizer(["Topic: oil price prices rose"] * 5, 330)
    control = ControlTokens.add(own, ["oil", "<|eos|>"])
    sequencer = Sequencer(own, control, Prompt("A:", ":Z"), 64, "text")
    for topic in control.topics:
        assert own.decode(sequencer.topic_tokens(topic)).strip(" ") == f"Topic: {topic}\n"
        assert not set(own.all_special_ids) & set(sequencer.topic_tokens(topic))
    start = sequencer.topic_line_start()
    assert sequencer.topic_tokens("oil")[: len(start)] == start
    assert sequencer.most_topic_tokens == max(len(sequencer.topic_tokens(topic)) for topic in control.topics)
    with pytest.raises(UserError, match="'gas'"):
        sequencer.topic_tokens("gas")
    assert Sequencer(own, control, Prompt("A:", ":Z"), 64).topic_tokens("oil") == [control.topic_id("oil")]


def test_long_text_is_cut_and_the_prompt_is_not(tokenizer, control):
    prompt = Prompt("<|im_start|>user\n", "<|im_end|>\n")
    start = time.perf_counter()
    ids = Sequencer(tokenizer, control, prompt, 64).prompts(["word " * 100_000])[0]
    assert time.perf_counter() - start < 2
    assert len(ids) == 64
    assert tokenizer.decode(ids).startswith("<|im_start|>")
    assert ids[-len(prompt.encode(tokenizer)[1]) :] == prompt.encode(tokenizer)[1]


def test_a_prompt_that_leaves_no_room_is_refused(tokenizer, control):
    with pytest.raises(UserError, match="give at least"):
        Sequencer(tokenizer, control, Prompt("word " * 60, ""), 64)


def test_a_cut_target_does_not_end(tokenizer, control):
    sequencer = Sequencer(tokenizer, control, Prompt("", ""), 64)
    whole, cut = sequencer.targets(["Ada", "Ada Bob Cy Dee prices of oil"], 6)
    assert whole[-1] == tokenizer.eos_token_id
    assert len(cut) == 6
    assert tokenizer.eos_token_id not in cut


@given(st.lists(st.lists(st.integers(5, 9), min_size=1, max_size=7), min_size=1, max_size=5))
def test_left_padding(rows):
    padded = pad_left(rows, 0)
    longest = max(map(len, rows))
    for row, ids, mask in zip(rows, padded["input_ids"], padded["attention_mask"], strict=True):
        assert ids.tolist() == [0] * (longest - len(row)) + row
        assert mask.sum() == len(row)
        assert (ids[mask.bool()] == torch.tensor(row)).all()


def gpt2():
    return GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=64))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])  # rotary and learned absolute positions
def test_last_logits_are_those_of_each_row_alone(kind, shared_base):
    model = (load_model(shared_base) if kind == "llama" else gpt2()).eval()
    rows = [[5, 6, 7, 8, 9, 10], [11, 12, 13]]
    with torch.no_grad():
        together = last_logits(model, pad_left(rows, 0), 2)
        for row, logits in zip(rows, together, strict=True):
            alone = model(input_ids=torch.tensor([row])).logits[0, -2:]
            torch.testing.assert_close(logits, alone, atol=1e-5, rtol=1e-4)
