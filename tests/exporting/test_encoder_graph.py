"""The graph of an encoder computes what the bundle computes, whatever loss it was fitted with."""

from types import SimpleNamespace

import pytest
import torch

from unskew.balance import Calibration, LossSettings, PosteriorCorrector, loss_link, prior_from_loss
from unskew.corpus import Topics
from unskew.exporting.encoder_graph import EncoderGraph

TOPICS = Topics(("a", "b", "c"), (90, 9, 1))
MAPS = [Calibration(), Calibration((0.3,), (0.5, -0.2, 0.1)), Calibration((0.3, -0.1, 0.9), ())]
LOSSES = [
    LossSettings("cross_entropy"),
    LossSettings("cross_entropy", label_smoothing=0.1),
    LossSettings("balanced_softmax"),
    LossSettings("balanced_softmax", label_smoothing=0.1),
    LossSettings("focal"),
    LossSettings("ldam"),
    LossSettings("generalised_cross_entropy"),
]


class Model(torch.nn.Module):
    """Its inputs are its logits."""

    def forward(self, input_ids, attention_mask):
        return SimpleNamespace(logits=input_ids)


@pytest.mark.parametrize("target", [(0.2, 0.3, 0.5), (0.0, 0.5, 0.5)])
@pytest.mark.parametrize("calibration", MAPS)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{loss.name}-{loss.label_smoothing}")
def test_the_graph_is_the_bundles_posterior(loss, calibration, target):
    model_prior = tuple(prior_from_loss(loss, TOPICS.counts).tolist())
    corrector = PosteriorCorrector(TOPICS, model_prior, calibration, target, loss_link(loss, TOPICS.counts))
    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) * 4
    found = EncoderGraph(Model(), corrector)(logits, torch.ones(50, 3))
    assert torch.equal(found["logits"], logits)
    assert found["log_probabilities"].exp().numpy() == pytest.approx(corrector(logits).numpy(), abs=1e-6)
