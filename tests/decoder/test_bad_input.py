"""Bases and targets as they come: what still works, and what is refused."""

from dataclasses import replace

import pytest
from transformers import AddedToken

from unskew.decoder import ControlTokens, GenerationSettings, TopicDecoder, fit_decoder
from unskew.decoder.base import load_tokenizer

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


@pytest.mark.parametrize("target", ["same", "long", "blank"])
def test_targets_that_are_the_text_too_long_or_blank(target, base, make_settings, topics, records, tmp_path, caplog):
    made = {"same": records[0].text, "long": "word " * 500, "blank": " \n"}[target]
    odd = [replace(records[0], target=made), *records[1:]]
    decoder = works(base, make_settings, topics, odd, tmp_path)
    assert len(decoder.generate([records[0].text], [records[0].topic])) == 1
    assert ("1 rows of the training set have no target" in caplog.text) == (target == "blank")
