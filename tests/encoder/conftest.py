"""A corpus that a tiny model learns in seconds, and a tiny untrained encoder."""

import random

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from unskew.corpus import Record, Topics
from unskew.encoder import EncoderSettings, TopicEncoder
from unskew.encoder.base import make_base
from unskew.runtime import train_tokenizer
from unskew.training import ScratchSettings

WORDS = {
    "energy": "crude oil barrel refinery gas",
    "sport": "goal striker penalty league coach",
    "courts": "judge verdict trial appeal jury",
}
SIZE = ScratchSettings(layers=1, width=16, heads=2, vocabulary=320)
CPU = {"accelerator": "cpu", "devices": 1}


def make_records(counts, seed):
    chance = random.Random(seed)
    rows = [topic for topic, count in counts.items() for _ in range(count)]
    texts = [" ".join(chance.choices(WORDS[topic].split(), k=chance.randint(3, 12))) for topic in rows]
    return [Record(text, f"{seed}-{i}", topic) for i, (text, topic) in enumerate(zip(texts, rows, strict=True))]


@pytest.fixture(scope="session")
def train():
    return make_records({"energy": 60, "sport": 30, "courts": 6}, seed=1)


@pytest.fixture(scope="session")
def texts(train):
    return [record.text for record in train]


@pytest.fixture(scope="session")
def labels(train):
    return np.array([record.topic for record in train])


@pytest.fixture(scope="session")
def validation():
    return make_records({"energy": 12, "sport": 8, "courts": 3}, seed=2)


@pytest.fixture(scope="session")
def noisy():
    return make_records({"energy": 40, "sport": 40, "courts": 40}, seed=3)


@pytest.fixture(scope="session")
def topics(train):
    return Topics.from_labels(record.topic for record in train)


@pytest.fixture(scope="session")
def settings():
    return EncoderSettings(scratch=SIZE, max_tokens=32, tokens_per_batch=256, trainer=CPU)


@pytest.fixture(scope="session")
def base(tmp_path_factory, train):
    """A pretrained model's folder, as a hub would hold it: random weights tell bags of words apart too."""
    folder = tmp_path_factory.mktemp("bases") / "bert"
    tokenizer = train_tokenizer([record.text for record in train], 320)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id, initializer_range=0.2,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    return str(folder)


@pytest.fixture
def encoder(train, topics, settings):
    model, tokenizer = make_base(settings, topics, [record.text for record in train], seed=0)
    with torch.no_grad():
        model.classifier.weight.mul_(20)  # apart, so that agreement is no accident  # pyright: ignore[reportCallIssue]
    return TopicEncoder(model, tokenizer, settings.max_tokens)
