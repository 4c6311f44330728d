"""Losses that are not proper are undone exactly: each against the minimum of its own expected value."""

import json
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import settings as options
from hypothesis import strategies as st

from unskew.balance import LossLink, LossSettings, loss_link, make_loss, prior_correct, prior_from_loss
from unskew.balance.settings import LossName

COUNTS = [90, 9, 3, 1]
SHARES = st.lists(st.floats(0.03, 1), min_size=4, max_size=4).map(lambda x: torch.tensor(x).double() / sum(x))
# Every loss at its defaults, and those that are not proper in more forms. Forward noise is not among them: it is least
# at the posterior of the labels before the noise.
LOSSES = [
    *(LossSettings(name) for name in get_args(LossName) if name != "forward_noise"),
    LossSettings("focal", weights="none"),
    LossSettings("focal", gamma=0.5),
    LossSettings("focal", gamma=5.0, weights="balanced"),
    LossSettings(weights="none", label_smoothing=0.1),
    LossSettings(label_smoothing=0.3),
    LossSettings("focal", label_smoothing=0.2),
    LossSettings("balanced_softmax", label_smoothing=0.1),
    LossSettings("logit_adjusted", tau=0.5, label_smoothing=0.1),
    LossSettings("ldam", weights="none", max_margin=0.2),
    LossSettings("generalised_cross_entropy", q=0.5),
]


def minimiser(settings, posterior):
    """Logits (C,) at which the expected loss of one text with this natural posterior (C,) is least."""
    loss = make_loss(settings, COUNTS)
    loss.set_progress(1.0)
    logits = posterior.log().clone().requires_grad_()
    optimizer = torch.optim.LBFGS([logits], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def step():
        optimizer.zero_grad()
        rows = loss.row_losses(logits.expand(4, 4), torch.arange(4)) * loss.weights.double()
        value = (posterior * rows).sum()
        value.backward()
        return value

    for _ in range(3):
        optimizer.step(step)
    return logits.detach()


@pytest.mark.parametrize("settings", LOSSES, ids=str)
@options(max_examples=6, deadline=None)
@given(SHARES)
def test_the_posterior_comes_back_from_where_the_loss_is_least(settings, posterior):
    found = loss_link(settings, COUNTS)(minimiser(settings, posterior)[None])
    natural = torch.tensor(COUNTS).double() / sum(COUNTS)
    taught = prior_from_loss(settings, COUNTS)
    again = prior_correct(found, taught, natural).exp().double()
    torch.testing.assert_close(again[0], posterior, rtol=2e-2, atol=2e-3)


@given(st.lists(st.floats(-60, 60), min_size=4, max_size=4), st.sampled_from(LOSSES))
def test_sure_logits_stay_finite_and_keep_their_order(logits, settings):
    row = torch.tensor(logits)
    found = loss_link(settings, COUNTS)(row[None])[0]
    assert found.isfinite().all()
    if settings.name == "focal" or settings.label_smoothing:
        link = loss_link(settings, COUNTS)
        shift = torch.tensor(link.adjustment or [0.0])
        assert (found + shift)[(row + shift).argmax()] >= (found + shift).max() - 1e-4


def test_proper_losses_are_left_alone():
    logits = torch.randn(5, 4)
    for settings in (LossSettings(), LossSettings("balanced_softmax"), LossSettings("focal", gamma=0.0)):
        torch.testing.assert_close(loss_link(settings, COUNTS)(logits), logits.log_softmax(-1))


def test_smoothing_by_hand():
    # q = 0.9 p + 0.1 / 4
    posterior = torch.tensor([[0.7, 0.2, 0.06, 0.04]])
    found = loss_link(LossSettings(label_smoothing=0.1), COUNTS)((0.9 * posterior + 0.025).log())
    torch.testing.assert_close(found.exp(), posterior, rtol=1e-5, atol=1e-7)


def test_survives_json():
    link = loss_link(LossSettings("ldam"), COUNTS)
    assert LossLink.from_dict(json.loads(json.dumps(link.to_dict()))) == link
