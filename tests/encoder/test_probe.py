"""The probe's choices: strength, names and the noisy set, each on rows held out."""

import pytest
import torch

from unskew.balance import natural_and_uniform_nll, row_nll
from unskew.encoder.folds import deal_folds
from unskew.encoder.linear_head import LabelledFeatures, fit_linear_head
from unskew.encoder.probe import ProbeRows, fit_probe

COUNTS = [80, 30, 10, 4]
WIDTH = 12


def draw(counts, seed, noise=1.6):
    centers = 1.4 * torch.randn(len(COUNTS), WIDTH, generator=torch.Generator().manual_seed(99))
    labels = torch.tensor([topic for topic, count in enumerate(counts) for _ in range(count)])
    generator = torch.Generator().manual_seed(seed)
    return LabelledFeatures(centers[labels] + noise * torch.randn(len(labels), WIDTH, generator=generator), labels)


@pytest.fixture(scope="module")
def clean():
    return draw(COUNTS, 0)


@pytest.fixture(scope="module")
def folds(clean):
    return deal_folds([str(i) for i in range(len(clean.labels))], clean.labels.tolist(), 5, 0)


@pytest.fixture(scope="module")
def alone(clean, folds):
    return fit_probe(ProbeRows(clean, None, None, 4), folds)


def test_the_held_out_logits_are_honest_under_the_rows_own_shares(clean, alone):
    prior = torch.tensor(COUNTS).double() / sum(COUNTS)
    held_out = row_nll(alone.held_out, clean.labels, prior).mean()
    fresh = draw([400, 150, 50, 20], 1)
    tested = row_nll(alone.head(fresh.features), fresh.labels, prior).mean()
    assert held_out == pytest.approx(tested.item(), abs=0.15)
    for scale in (0.4, 2.5):
        assert sum(natural_and_uniform_nll(alone.held_out, clean.labels, prior)) < sum(
            natural_and_uniform_nll(alone.held_out * scale, clean.labels, prior)
        )


def test_names_that_say_what_the_topics_are_stay(clean, folds):
    names = draw([1, 1, 1, 1], 5, noise=0.1)
    assert fit_probe(ProbeRows(clean, names, None, 4), folds).names


def test_names_that_mislead_are_left_out(clean, folds, alone):
    misleading = draw([1, 1, 1, 1], 5, noise=0.1)
    swapped = LabelledFeatures(misleading.features.repeat(25, 1), misleading.labels.flip(0).repeat(25))
    probe = fit_probe(ProbeRows(clean, swapped, None, 4), folds)
    assert not probe.names
    assert "left out" in "; ".join(probe.report)
    torch.testing.assert_close(probe.head.weight, alone.head.weight)


def test_a_noisy_set_that_helps_is_used():
    clean = draw([3 * count for count in COUNTS], 0, noise=3.0)
    folds = deal_folds([str(i) for i in range(len(clean.labels))], clean.labels.tolist(), 5, 0)
    more = draw([400] * 4, 7, noise=3.0)
    wrong = torch.rand(len(more.labels), generator=torch.Generator().manual_seed(1)) < 0.1
    labels = torch.where(wrong, torch.zeros_like(more.labels), more.labels)
    probe = fit_probe(ProbeRows(clean, None, LabelledFeatures(more.features, labels), 4), folds)
    assert probe.noisy is not None
    assert probe.noisy < 0
    fresh = draw([100] * 4, 8, noise=3.0)
    alone = fit_probe(ProbeRows(clean, None, None, 4), folds)
    right = [(each.head(fresh.features).argmax(-1) == fresh.labels).double().mean() for each in (probe, alone)]
    assert right[0] > right[1]


@pytest.mark.parametrize("kind", ["pure noise", "all one topic"])
def test_a_noisy_set_that_says_nothing_is_left_out_and_said(clean, folds, alone, kind):
    more = draw([300, 120, 40, 16], 7)
    generator = torch.Generator().manual_seed(3)
    shuffled = more.labels[torch.randperm(len(more.labels), generator=generator)]
    labels = shuffled if kind == "pure noise" else torch.zeros_like(more.labels)
    probe = fit_probe(ProbeRows(clean, None, LabelledFeatures(more.features, labels), 4), folds)
    assert probe.noisy is None
    assert "does not help" in "; ".join(probe.report)
    torch.testing.assert_close(probe.head.weight, alone.head.weight)


def test_synthetic_rows_are_trained_on_and_nothing_is_chosen_by_them(clean):
    labels, generator = torch.arange(4).repeat(60), torch.Generator().manual_seed(7)
    # Synthetic rows whose topic only a weakly regularised head finds, among strong features that say nothing.
    made = torch.cat([10 * torch.randn(240, WIDTH, generator=generator), torch.nn.functional.one_hot(labels, 4)], 1)
    real = torch.nn.functional.pad(clean.features, (0, 4))
    rows = LabelledFeatures(torch.cat([real, made]), torch.cat([clean.labels, labels]))
    synthetic = torch.arange(len(rows.labels)) >= len(real)
    folds = deal_folds([str(i) for i in range(len(rows.labels))], rows.labels.tolist(), 5, 0)
    strengths = (3.0, 100.0)
    assert fit_probe(ProbeRows(rows, None, None, 4), folds, strengths).strength == 100
    probe = fit_probe(ProbeRows(rows, None, None, 4, synthetic), folds, strengths)
    assert probe.strength == 3
    torch.testing.assert_close(probe.head.weight, probe.scale * fit_linear_head([rows], 4, 3.0).weight)
    assert probe.held_out.isfinite().all(-1).tolist() == (~synthetic).tolist()
    loss = row_nll(probe.held_out[~synthetic], clean.labels, torch.tensor(COUNTS) / sum(COUNTS)).mean()
    assert f"held-out log-loss {loss:.4f} nats" in probe.report[0]


def test_rows_that_no_fold_holds_out_still_give_a_probe():
    lone = draw([1, 1, 1, 1], 2)
    probe = fit_probe(ProbeRows(lone, None, None, 4), [-1] * 4)
    assert (probe.head(lone.features).argmax(-1) == lone.labels).all()
