"""A last layer that is computed for the first token alone: the logits of the whole one."""

import copy

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from unskew.encoder.first_token import read_first_token_alone
from unskew.encoder.output_layer import without_output_layer
from unskew.encoder.pooling import add_mean_layer, mean_layer
from unskew.encoder.tokens import pad

SHAPE = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "num_labels": 3,
    "initializer_range": 0.5,
}
KINDS = [
    (BertConfig, BertForSequenceClassification),
    (RobertaConfig, RobertaForSequenceClassification),
    (XLMRobertaConfig, XLMRobertaForSequenceClassification),
]
BATCHES = [pad([[2, 7, 8, 9, 3], [2, 11, 3]], 1), pad([[2, 7, 3], [2, 8, 3]], 1), pad([[2]], 1)]


def make(config, kind, **changes):
    torch.manual_seed(0)
    return kind(config(**{**SHAPE, **changes})).eval()


@pytest.mark.parametrize(("config", "kind"), KINDS)
@torch.inference_mode()
def test_logits_and_weights_are_those_of_the_whole_layer(config, kind):
    model = make(config, kind)
    expected = [model(**batch).logits for batch in BATCHES]
    names = list(model.state_dict())
    read_first_token_alone(model)
    assert model.base_model(**BATCHES[0]).last_hidden_state.shape == (2, 1, 32)
    for one in (model, copy.deepcopy(model)):
        for batch, logits in zip(BATCHES, expected, strict=True):
            torch.testing.assert_close(one(**batch).logits, logits, atol=1e-5, rtol=1e-5)
        assert list(one.state_dict()) == names


@torch.inference_mode()
def test_with_a_layer_that_takes_the_mean_and_without_its_head():
    model = make(BertConfig, BertForSequenceClassification)
    add_mean_layer(model)
    expected = without_output_layer(model)(**BATCHES[0]).logits
    read_first_token_alone(model)
    assert mean_layer(model) is not None
    torch.testing.assert_close(without_output_layer(model)(**BATCHES[0]).logits, expected, atol=1e-5, rtol=1e-5)


def test_in_training_the_layer_is_whole():
    model = make(BertConfig, BertForSequenceClassification)
    read_first_token_alone(model)
    assert model.train().base_model(**BATCHES[0]).last_hidden_state.shape == (2, 5, 32)


def test_other_attention_and_other_heads_are_left():
    model = make(BertConfig, BertForSequenceClassification, attn_implementation="eager")
    read_first_token_alone(model)
    assert model(**BATCHES[0]).logits.shape == (2, 3)
    assert model.base_model(**BATCHES[0]).last_hidden_state.shape == (2, 5, 32)
