"""Probe, tuned or refitted: the held-out rows decide, and what is chosen is one linear head."""

import pytest
import torch

from unskew.balance import fit_scale, natural_and_uniform_nll
from unskew.encoder.choice import choose
from unskew.encoder.linear_head import LinearHead

PRIOR = torch.tensor([0.8, 0.2], dtype=torch.float64)


@pytest.fixture
def labels():
    return torch.tensor([0] * 80 + [1] * 20)


def logits(labels, strength, seed):
    generator = torch.Generator().manual_seed(seed)
    return strength * torch.nn.functional.one_hot(labels, 2) + torch.randn(len(labels), 2, generator=generator)


@pytest.mark.parametrize(
    ("probe", "tuned", "refit", "share"), [(2.5, 0, 0, None), (0, 2.5, -0.5, 0.0), (0, -0.5, 2.5, 1.0)]
)
def test_the_best_on_held_out_rows_is_chosen(labels, probe, tuned, refit, share):
    found = choose(logits(labels, probe, 0), logits(labels, tuned, 1), logits(labels, refit, 2), labels, PRIOR)
    assert found.refit_share == share
    assert ("probe is kept" in str(found)) == (share is None)


def test_two_that_err_apart_are_summed(labels):
    found = choose(logits(labels, 0.2, 0), logits(labels, 2, 1), logits(labels, 2, 2), labels, PRIOR)
    assert found.refit_share == 0.5


def test_what_is_chosen_is_never_worse_on_held_out_rows_than_the_probe(labels):
    for seed in range(5):
        found = choose(*(logits(labels, 1, 3 * seed + i) for i in range(3)), labels, PRIOR)  # pyright: ignore[reportCallIssue]
        assert found.losses is not None
        ours, probes = found.losses
        assert sum(x / y for x, y in zip(ours, probes, strict=True)) <= 2
        assert natural_and_uniform_nll(found.logits, labels, PRIOR) == pytest.approx(ours)


def test_the_head_gives_the_logits_that_were_chosen(labels):
    features = torch.randn(len(labels), 5, generator=torch.Generator().manual_seed(0))
    heads = [LinearHead(torch.randn(2, 5, generator=torch.Generator().manual_seed(i)), torch.zeros(2)) for i in (1, 2)]
    found = choose(logits(labels, 0.01, 0), heads[0](features), heads[1](features), labels, PRIOR)
    assert found.refit_share is not None
    torch.testing.assert_close(found.head(*heads)(features), found.logits.float(), atol=1e-4, rtol=1e-4)


def test_held_out_rows_stand_for_all_rows(labels):
    whole = [logits(labels, strength, seed) for seed, strength in enumerate((1, 3, 2))]
    held = [torch.cat([each, torch.full((400, 2), torch.nan)]) for each in whole]
    found = choose(*held, torch.cat([labels, labels.repeat(4)]), PRIOR)  # pyright: ignore[reportCallIssue]
    five_times = choose(*whole, labels, PRIOR, torch.full((100,), 5.0))  # pyright: ignore[reportCallIssue]
    for ours, expected in zip(found.losses or (), five_times.losses or (), strict=True):
        assert ours == pytest.approx(expected)
    assert found.scales == (
        pytest.approx(fit_scale(whole[1], labels, PRIOR, torch.full((100,), 5.0))),
        pytest.approx(fit_scale(whole[2], labels, PRIOR, torch.full((100,), 5.0))),
    )
    assert found.scales > choose(*whole, labels, PRIOR).scales  # pyright: ignore[reportCallIssue]


def test_without_held_out_rows_the_probe_stays_and_no_loss_is_said():
    nowhere = torch.full((3, 2), torch.nan)
    found = choose(nowhere, nowhere, nowhere, torch.tensor([0, 1, 1]), PRIOR)
    assert found.refit_share is None
    assert str(found) == "tuning: no row could be held out to compare by, so the probe is kept"
