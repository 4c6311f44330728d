"""Bases and targets as they come: what still works, and what is refused."""

from dataclasses import replace

import pytest
from transformers import AddedToken, AutoModelForCausalLM, Llama4TextConfig

from unskew.common import UserError
from unskew.decoder import ControlTokens, GenerationSettings, TopicDecoder, check_base, fit_decoder
from unskew.decoder.base import load_tokenizer
from unskew.runtime import train_tokenizer

SHORT = GenerationSettings(max_new_tokens=8)


def works(base, make_settings, topics, records, folder):
    """Fits, saves and loads, with the same outputs."""
    decoder = fit_decoder(records, records[:6], None, topics, make_settings(base=base), folder / "fit")
    decoder.save_pretrained(folder / "saved")
    loaded = TopicDecoder.from_pretrained(folder / "saved", device="cpu")
    texts, names = [record.text for record in records[:3]], [record.topic for record in records[:3]]
    assert loaded.generate(texts, names, SHORT) == decoder.generate(texts, names, SHORT)
    return decoder


@pytest.mark.parametrize("tied", [True, False])
def test_a_base_without_a_chat_template(tied, make_base, make_settings, topics, records, tmp_path):
    works(make_base(tmp_path / "base", tied=tied, chat=False), make_settings, topics, records, tmp_path)


def test_a_base_whose_vocabulary_has_a_topics_token(base, make_settings, topics, records, tmp_path):
    tokenizer = load_tokenizer(base)
    tokenizer.add_tokens([AddedToken("<|topic:oil|>", special=False)])
    tokenizer.save_pretrained(base)
    decoder = works(base, make_settings, topics, records, tmp_path)
    assert decoder.control.topic_id("oil") not in decoder._sequencer.prompts(["<|topic:oil|>"])[0]
    again = ControlTokens.add(load_tokenizer(base), topics.names)
    assert len(set(again.ids)) == len(topics) + 1


def test_a_base_that_fails_once_it_is_adapted_is_refused_before_a_fit(tmp_path, make_settings, topics, records):
    """Llama 4's router is a linear layer that returns two values, which LoRA's own layer does not."""
    tokenizer = train_tokenizer([record.text for record in records], 330)
    config = Llama4TextConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, intermediate_size_mlp=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, num_local_experts=2, max_position_embeddings=256,
        attention_chunk_size=32, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    settings = make_settings(base=str(tmp_path))
    with pytest.raises(UserError, match=r"fails with adaptation lora \(.*\); use adaptation top_blocks or full"):
        check_base(settings, topics, tmp_path / "fit")
    check_base(replace(settings, adaptation="full"), topics, tmp_path / "fit")


@pytest.mark.parametrize("target", ["same", "long", "blank"])
def test_targets_that_are_the_text_too_long_or_blank(target, base, make_settings, topics, records, tmp_path, caplog):
    made = {"same": records[0].text, "long": "word " * 500, "blank": " \n"}[target]
    odd = [replace(records[0], target=made), *records[1:]]
    decoder = works(base, make_settings, topics, odd, tmp_path)
    assert len(decoder.generate([records[0].text], [records[0].topic])) == 1
    assert ("1 rows of the training set have no target" in caplog.text) == (target == "blank")
