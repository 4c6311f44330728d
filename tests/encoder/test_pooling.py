"""The layer that gives a BERT classifier the mean of its tokens."""

import json

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

from unskew.encoder.pooling import STRENGTH, add_mean_layer, declared_pooling


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=3,  # pyright: ignore[reportCallIssue]
    )
    return BertForSequenceClassification(config).eval()


INPUTS = {
    "input_ids": torch.tensor([[2, 7, 8, 9, 3], [2, 11, 3, 0, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
}


def test_first_token_becomes_the_mean_over_unmasked_tokens(model):
    with torch.no_grad():
        hidden = model.bert(**INPUTS).last_hidden_state
        add_mean_layer(model)
        found = model.bert(**INPUTS).last_hidden_state[:, 0]
    mask = INPUTS["attention_mask"][..., None]
    mean = (hidden * mask).sum(1) / mask.sum(1)
    expected = torch.nn.functional.layer_norm(hidden[:, 0] + STRENGTH * mean, (32,))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_plain_transformers_loads_it(model, tmp_path):
    add_mean_layer(model)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(loaded(**INPUTS).logits, model(**INPUTS).logits)


def test_the_new_layer_learns(model):
    add_mean_layer(model)
    model(**INPUTS, labels=torch.tensor([0, 1])).loss.backward()
    layer = model.bert.encoder.layer[-1]
    assert layer.attention.self.value.weight.grad.abs().sum() > 0
    assert layer.output.dense.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("config", "declared"),
    [
        ({"word_embedding_dimension": 8, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "include_prompt": False}, "cls"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_lasttoken": True}, "lasttoken"),
        ({"pooling_mode_mean_tokens": False, "include_prompt": True}, None),
        ({"embedding_dimension": 8, "pooling_mode": "mean", "include_prompt": True}, "mean"),
        ({"pooling_mode": ["max", "mean"]}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
    ],
)
def test_the_base_says_how_it_pools(config, declared, tmp_path):
    assert declared_pooling(str(tmp_path)) is None
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(config))
    assert declared_pooling(str(tmp_path)) == declared
