"""A corpus that a tiny model learns in seconds, and a tiny untrained encoder."""

import random

import numpy as np
import pytest
import torch

from unskew.corpus import Record, Topics
from unskew.encoder import EncoderSettings, TopicEncoder
from unskew.encoder.base import make_base
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


@pytest.fixture
def encoder(train, topics, settings):
    model, tokenizer = make_base(settings, topics, [record.text for record in train], seed=0)
    with torch.no_grad():
        model.classifier.weight.mul_(20)  # apart, so that agreement is no accident  # pyright: ignore[reportCallIssue]
    return TopicEncoder(model, tokenizer, settings.max_tokens)
