import pytest

from unskew.common import UserError
from unskew.decoder import INSTRUCTION, DecoderSettings
from unskew.decoder.base import load_tokenizer
from unskew.decoder.prompts import Prompt, protect_chat_tokens
from unskew.decoder.templates import resolve_template
from unskew.runtime import encode_user_text, train_tokenizer


def plain_tokenizer():
    return train_tokenizer(["some words to learn"] * 5, 300)


def test_named_templates_and_own_ones():
    assert resolve_template("instruction") == INSTRUCTION
    assert resolve_template("Text: {text} Write:") == "Text: {text} Write:"


@pytest.mark.parametrize("prompt", ["", "no place for the text", "{text} and {text}"])
def test_a_template_holds_the_text_once(prompt):
    with pytest.raises(UserError, match="exactly once"):
        DecoderSettings(prompt=prompt)


def test_braces_and_percent_signs_of_a_template_stay():
    prompt = Prompt.render('{"json": "{text}", %s}', plain_tokenizer())
    assert (prompt.before, prompt.after) == ('{"json": "', '", %s}')


def test_chat_template_goes_around(shared_base):
    tokenizer = load_tokenizer(shared_base)
    prompt = Prompt.render("Sum up: {text} Now.", tokenizer)
    assert prompt.before == "<|im_start|>user\nSum up: "
    assert prompt.after == " Now.<|im_end|>\n<|im_start|>assistant\n"
    before, _ = prompt.encode(tokenizer)
    assert before[0] == tokenizer.convert_tokens_to_ids("<|im_start|>")


def test_a_chat_template_that_hides_the_text_is_refused(shared_base):
    tokenizer = load_tokenizer(shared_base)
    tokenizer.chat_template = "hello"
    with pytest.raises(UserError, match="chat template"):
        Prompt.render("plain", tokenizer)


def test_start_token_only_where_the_tokenizer_writes_it(tmp_path):
    tokenizer = plain_tokenizer()
    assert Prompt.render("{text}", tokenizer).before == ""

    class Starting(type(tokenizer)):
        def __call__(self, text, **options):  # pyright: ignore[reportIncompatibleMethodOverride]
            encoded = super().__call__(text, **options)
            encoded["input_ids"] = [self.bos_token_id, *encoded["input_ids"]]
            return encoded

    tokenizer.__class__ = Starting
    assert Prompt.render("{text}", tokenizer).before == "<|bos|>"


def test_ordinary_marks_of_a_chat_format_become_special():
    tokenizer = plain_tokenizer()
    tokenizer.add_tokens(["<turn>"])
    mark = tokenizer.convert_tokens_to_ids("<turn>")
    assert mark in encode_user_text(tokenizer, ["a <turn> b"], 50)[0]
    protect_chat_tokens(tokenizer, Prompt("<turn>", ""))
    assert mark not in encode_user_text(tokenizer, ["a <turn> b"], 50)[0]
    assert Prompt("<turn>", "").encode(tokenizer)[0] == [mark]
