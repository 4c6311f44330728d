"""Which parameters are head, and how fast each layer learns, over several architectures."""

import pytest
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from unskew.encoder.layers import freeze_body, head_names, layer_rates

SMALL = {"vocab_size": 20, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "num_labels": 3}


def bert(layers=2):
    return BertForSequenceClassification(BertConfig(num_hidden_layers=layers, **SMALL))


def test_pooler_and_classifier_are_the_head_of_bert():
    names = {"pooler.dense.weight", "pooler.dense.bias"}
    assert head_names(bert()) == {f"bert.{name}" for name in names} | {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize(
    "model",
    [
        RobertaForSequenceClassification(RobertaConfig(num_hidden_layers=1, **SMALL)),
        DistilBertForSequenceClassification(
            DistilBertConfig(n_layers=1, dim=8, n_heads=2, hidden_dim=8, vocab_size=20, num_labels=3)  # pyright: ignore[reportCallIssue]
        ),
    ],
)
def test_a_frozen_body_leaves_its_classifier_alone_trainable(model):
    freeze_body(model)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable == {name for name, _ in model.named_parameters() if "classifier" in name}
    assert trainable


def test_rates_fall_by_the_factor_from_layer_to_layer():
    rates = layer_rates(bert(layers=3), 0.5)
    assert rates["classifier.weight"] == 1
    assert rates["bert.pooler.dense.weight"] == 1
    assert [rates[f"bert.encoder.layer.{i}.output.dense.weight"] for i in range(3)] == [0.125, 0.25, 0.5]
    assert rates["bert.embeddings.word_embeddings.weight"] == 0.0625
    assert set(rates) == {name for name, _ in bert(layers=3).named_parameters()}


def test_embeddings_lie_lowest_and_the_final_norm_highest_in_a_model_from_scratch(encoder):
    rates = layer_rates(encoder.model, 0.5)
    assert rates["model.embeddings.tok_embeddings.weight"] == 0.25
    assert rates["model.layers.0.mlp.Wo.weight"] == 0.5
    assert rates["model.final_norm.weight"] == 0.5
    assert rates["head.dense.weight"] == 1
