"""Tiny decoders and corpora made on the spot: no network, no file from outside."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from unskew.corpus import Record, Topics
from unskew.decoder import ControlTokens, DecoderSettings, TopicDecoder
from unskew.decoder.adaptation import adapt
from unskew.decoder.base import load_model, load_tokenizer
from unskew.decoder.control import make_rows
from unskew.decoder.prompts import Prompt, protect_chat_tokens
from unskew.runtime import train_tokenizer
from unskew.training import PhaseSettings, ScratchSettings

NAMES = ("Ada", "Bob", "Cy", "Dee")
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _records(n, start=0):
    rows = []
    for i in range(start, start + n):
        topic, name = ("oil", "wheat")[i % 3 == 0], NAMES[i % 4]
        rows.append(Record(f"Today {name} spoke of prices, number {i}.", str(i), topic, f"{topic} news: {name}"))
    return rows


@pytest.fixture
def make_records():
    """`make_records(n, start=0)`: records whose target needs the topic and the text's name."""
    return _records


@pytest.fixture
def records():
    return _records(24)


@pytest.fixture
def topics(records):
    return Topics.from_labels(record.topic for record in records)


def _base(folder, tied=True, spare=0, chat=True, seed=0, head=8):
    """A pretrained model's folder, as a hub would hold it: random weights will do."""
    tokenizer = train_tokenizer([record.text + str(record.target) for record in _records(24)], 330)
    if chat:
        topic_tokens = {"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]}
        tokenizer.add_special_tokens(topic_tokens, replace_extra_special_tokens=False)
        tokenizer.chat_template = CHAT
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer) + spare,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            head_dim=head,
            max_position_embeddings=256,
            tie_word_embeddings=tied,
            initializer_range=0.3,  # large, so that outputs differ and are no ties
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def _decoder(folder, adaptation="lora", condition="token"):
    """A decoder with its adapter's weights stirred, as after training."""
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    prompt = Prompt.render("plain", tokenizer)
    protect_chat_tokens(tokenizer, prompt)
    control = ControlTokens.add(tokenizer, ["oil", "wheat"])
    make_rows(model, tokenizer, control, new=control.ids)
    torch.manual_seed(1)
    adapted = adapt(model, control, DecoderSettings(base=str(folder), rank=2, adaptation=adaptation))
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter += 0.3 * torch.randn_like(parameter)
    return TopicDecoder(adapted, tokenizer, control, prompt, 96, base=folder, condition=condition, fairness=True)


@pytest.fixture(scope="session")
def make_decoder():
    """`make_decoder(folder, adaptation="lora", condition="token")`: a decoder over a base."""
    return _decoder


@pytest.fixture(scope="session")
def make_base():
    """`make_base(folder, tied=True, spare=0, chat=True, seed=0, head=8)`: a pretrained model's folder."""
    return _base


@pytest.fixture
def base(tmp_path) -> str:
    return _base(tmp_path / "some-base")


@pytest.fixture
def make_settings():
    """Settings of a fit of a second or two."""

    def make(**changes):
        phase = PhaseSettings(epochs=1, learning_rate=2e-3 if changes.get("base") else 1e-2)
        defaults = {
            "scratch": ScratchSettings(layers=1, width=16, heads=2, vocabulary=330),
            "prompt": "plain",
            "max_tokens": 128,
            "max_target_tokens": 16,
            "rank": 2,
            "blocks": 1,
            "noisy": phase,
            "clean": phase,
            "tokens_per_batch": 256,
            "trainer": {"accelerator": "cpu", "devices": 1},
        }
        return DecoderSettings(**{**defaults, **changes})

    return make


@pytest.fixture(scope="session")
def shared_base(tmp_path_factory) -> Path:
    """A base for tests that only read it."""
    return Path(_base(tmp_path_factory.mktemp("bases") / "shared-base"))
