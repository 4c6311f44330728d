"""Validation metrics against scikit-learn's and numbers worked by hand."""

import pytest
import torch
from sklearn.metrics import f1_score, log_loss

from unskew.corpus import Topics
from unskew.encoder.module import validation_metrics

TOPICS = Topics(("earn", "grain", "tea", "jute"), (500, 60, 3, 1))


def test_measures_agree_with_scikit_learn():
    logits = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(200) % 3
    metrics = validation_metrics(logits, labels, Topics(("a", "b", "c"), (500, 60, 3)))
    assert metrics["macro_f1"] == pytest.approx(f1_score(labels, logits.argmax(1), average="macro"))
    assert metrics["nll"] == pytest.approx(log_loss(labels, logits.double().softmax(1)))


def test_recalls_by_topic_and_band():
    decided = torch.tensor([0, 0, 1, 0, 2])
    labels = torch.tensor([0, 0, 1, 1, 2])
    metrics = validation_metrics(torch.nn.functional.one_hot(decided, 4) * 9.0, labels, TOPICS)
    found = {name: value for name, value in metrics.items() if "recall" in name}
    assert found == {
        "recall_many": 1.0,
        "recall_medium": 0.5,
        "recall_few": 1.0,
        "recall/earn": 1.0,
        "recall/grain": 0.5,
        "recall/tea": 1.0,
    }
