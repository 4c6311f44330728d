"""The prior of a job's rows, estimated from the newsroom's exact posterior where the truth is known."""

import dataclasses
import json
import re

import pytest
import torch

from unskew.balance import (
    Calibration,
    PosteriorCorrector,
    ShiftEstimate,
    adapt_target,
    estimate_target,
    prior_from_counts,
)
from unskew.cli.main import main
from unskew.common import UserError, write_jsonl
from unskew.corpus import Newsroom, Topics
from unskew.evaluation import evaluate
from unskew.pipeline import HybridPipeline

ROOM = Newsroom()
TOPICS = Topics(ROOM.topics, ROOM.long_tail_counts(500))
REVERSED = prior_from_counts(TOPICS.counts).flip(0)
TAUGHT = tuple(torch.tensor(TOPICS.counts).sqrt().div(torch.tensor(TOPICS.counts).sqrt().sum()).tolist())
UNIFORM = (1 / 12,) * 12


def logits(rows, prior, seed=0):
    """An overconfident model's: the exact posterior under the prior its loss taught, at half the temperature."""
    texts = [record.text for record in ROOM.sample(rows, prior.numpy(), seed)]
    return 2 * torch.tensor(ROOM.posterior(texts, TAUGHT)).log()


@pytest.fixture(scope="module")
def corrector():
    plain = PosteriorCorrector(TOPICS, TAUGHT, Calibration(), UNIFORM)
    records = ROOM.sample(1500, TOPICS.counts, 9)
    rows = 2 * torch.tensor(ROOM.posterior([record.text for record in records], TAUGHT)).log()
    return plain.calibrate(rows, torch.tensor(ROOM.topic_indices(records)), "bias_corrected_temperature")


@pytest.fixture(scope="module")
def reversed_rows():
    return logits(3000, REVERSED)


def test_a_reversed_prior_is_found(corrector, reversed_rows):
    estimate = estimate_target(corrector, reversed_rows)
    assert estimate.rows == 3000
    assert sum(estimate.prior) == pytest.approx(1)
    # The calibration has errors of its own beside those of sampling.
    assert (torch.tensor(estimate.prior) - REVERSED).abs().max() < 0.05
    assert torch.tensor(estimate.errors).max() < 0.03
    exact = (REVERSED * (REVERSED / prior_from_counts(TOPICS.counts)).log()).sum().item()
    assert estimate.divergence == pytest.approx(exact, rel=0.1)


def test_the_summary_says_what_moved(corrector, reversed_rows):
    estimate = estimate_target(corrector, reversed_rows)
    first, second = str(estimate).splitlines()
    assert f"{estimate.rows} unlabelled rows, {estimate.divergence:.2f} nats" in first
    moved = re.findall(r"(\w+) (\d+\.\d)% -> (\d+\.\d)% ± \d+\.\d%", second)
    assert {name for name, _, _ in moved} >= {TOPICS.names[0], TOPICS.names[-1]}
    shares = {name: (float(before), float(after)) for name, before, after in moved}
    assert shares[TOPICS.names[0]][0] == pytest.approx(100 * TOPICS.prior[0], abs=0.06)
    assert shares[TOPICS.names[0]][1] < 5


def test_deciding_under_the_estimate_is_better_than_under_the_training_prior(corrector, reversed_rows):
    estimate = estimate_target(corrector, reversed_rows)
    truth = torch.tensor(ROOM.topic_indices(ROOM.sample(3000, REVERSED.numpy(), 0)))
    right = {
        name: (corrector.with_target_prior(prior)(reversed_rows).argmax(-1) == truth).double().mean().item()
        for name, prior in (("estimated", estimate.shares), ("train", "train"))
    }
    assert right["estimated"] > right["train"] + 0.05


def test_the_target_prior_of_the_decider_plays_no_part(corrector, reversed_rows):
    other = corrector.with_target_prior("train")
    assert estimate_target(other, reversed_rows[:500]) == estimate_target(corrector, reversed_rows[:500])


def test_no_topic_is_ruled_out(corrector):
    only = torch.zeros(12, dtype=torch.float64)
    only[[0, 5]] = torch.tensor([0.7, 0.3], dtype=torch.float64)
    estimate = estimate_target(corrector, logits(1000, only))
    assert min(estimate.prior) >= 0.5 / 1006 * 0.99
    assert estimate.prior[0] == pytest.approx(0.7, abs=0.06)


def test_too_few_rows_are_refused_by_name(corrector, reversed_rows):
    with pytest.raises(UserError, match="these 6 rows cannot be estimated") as caught:
        estimate_target(corrector, reversed_rows[:6])
    assert any(f"{name!r}" in str(caught.value) for name in TOPICS.names)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no rows"):
        estimate_target(corrector, reversed_rows[:0])


def test_topics_that_the_model_cannot_tell_apart_are_refused_by_name():
    topics = Topics(("oil", "gas", "wheat"), (50, 30, 20))
    log_p = torch.tensor([[0.6, 0.36, 0.04]]).log().repeat(900, 1)
    log_p[torch.arange(900) % 3 == 2] = torch.tensor([0.05, 0.03, 0.92]).log()
    twins = PosteriorCorrector(topics, topics.prior, Calibration(), topics.prior)
    with pytest.raises(UserError, match=r"over 0.1 for '(oil|gas)' \(inf\), '(oil|gas)' \(inf\); give more rows"):
        estimate_target(twins, log_p)


def test_very_many_rows_are_thinned_evenly(corrector, reversed_rows, monkeypatch):
    monkeypatch.setattr("unskew.balance.target_estimate.MOST_ROWS", 1000)
    ordered = reversed_rows[reversed_rows.argmax(-1).argsort()]  # a file sorted by topic
    thinned = estimate_target(corrector, ordered)
    assert thinned.rows == 1000
    assert (torch.tensor(thinned.prior) - REVERSED).abs().max() < 0.06


def test_uncalibrated_probabilities_are_warned_of(corrector, reversed_rows, caplog):
    estimate_target(corrector, reversed_rows[:200])
    assert not caplog.records
    estimate_target(PosteriorCorrector(TOPICS, TAUGHT, Calibration(), UNIFORM), reversed_rows[:200] / 2)
    assert "uncalibrated" in caplog.text


def test_shares_go_by_name():
    estimate = ShiftEstimate(Topics(("b", "a"), (3, 1)), (0.25, 0.75), (0.01, 0.01), 100)
    assert estimate.shares == {"b": 0.25, "a": 0.75}
    assert estimate.divergence == pytest.approx(0.25 * torch.tensor(1 / 3).log().item() + 0.75 * 1.0986123)


@pytest.fixture(scope="module")
def shifted(make_rows, tmp_path_factory):
    """Labelled rows of the tiny corpus under another prior than its training set's."""
    path = tmp_path_factory.mktemp("shifted") / "rows.jsonl"
    write_jsonl(path, make_rows({"harvest": 20, "harbour": 60, "football": 320}, 5, "shifted"))
    return str(path)


def test_evaluate_aims_at_the_prior_of_its_rows(fitted, shifted, tmp_path):
    pipeline = HybridPipeline(fitted[0].encoder, None, fitted[0].corrector)
    found = evaluate(pipeline, shifted, tmp_path / "estimated", target_prior="estimate")
    assert found.target_prior["football"] == pytest.approx(0.8, abs=0.1)
    stored = json.loads((tmp_path / "estimated" / "evaluation.json").read_text())
    assert stored["target_prior"] == found.target_prior
    low, high = stored["target_intervals"]["football"]
    assert low < found.target_prior["football"] < high
    assert evaluate(pipeline, shifted, tmp_path / "own").target_prior == pytest.approx(
        dict.fromkeys(found.recall, 1 / 3)
    )


def test_estimate_is_a_target_prior_of_the_evaluate_command(fitted, shifted, tmp_path):
    found = {}
    for given in ("estimate", "train"):
        output = tmp_path / given
        options = ["--model", str(fitted[1]), "--input", shifted, "--output", str(output), "--target_prior", given]
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", *options, "--device", "cpu", "--generation.max_new_tokens", "1"])
        assert ended.value.code == 0
        found[given] = json.loads((output / "evaluation.json").read_text())["target_prior"]["football"]
    assert found["estimate"] == pytest.approx(0.8, abs=0.1)
    assert found["train"] < 0.2


def test_held_out_rows_show_the_classifiers_own_error():
    """A classifier that takes one topic for another: the rows alone are sure of wrong shares, held-out rows not."""
    topics = Topics(("a", "b", "c"), (60, 30, 10))
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[2.0, 0], [0, 2], [-2, -2]]).double()
    believed = centres + torch.tensor([[-0.8, 0.8], [0.6, 0], [0, 0]]).double()

    def drawn(shares, rows):
        targets = torch.multinomial(torch.tensor(shares), rows, True, generator=generator)
        texts = centres[targets] + 1.2 * torch.randn(rows, 2, generator=generator).double()
        scores = (texts @ believed.T - (believed**2).sum(-1) / 2) / 1.44
        return scores + prior_from_counts(topics.counts).log(), targets

    held_out = drawn([0.6, 0.3, 0.1], 400)
    corrector = PosteriorCorrector(topics, topics.prior, Calibration(), topics.prior).calibrate(
        *held_out, "bias_corrected_temperature"
    )
    wanted = torch.tensor([0.1, 0.3, 0.6])
    unlabelled, _ = drawn(wanted.tolist(), 4000)
    without = dataclasses.replace(corrector, rows=None)
    alone, both = (estimate_target(known, unlabelled) for known in (without, corrector))
    assert both.prior == alone.prior
    assert both.with_classifier
    assert "from the rows alone" in str(alone)
    assert "from the rows alone" not in str(both)
    assert all(low <= share <= high for share, (low, high) in zip(wanted.tolist(), both.intervals, strict=True))
    assert not all(low <= share <= high for share, (low, high) in zip(wanted.tolist(), alone.intervals, strict=True))
    adapted = adapt_target(corrector, unlabelled)
    assert all(low <= share <= high for share, (low, high) in zip(wanted.tolist(), adapted.intervals, strict=True))
    assert "±" in str(adapted)
    assert adapt_target(without, unlabelled).prior == adapted.prior
    assert adapt_target(without, unlabelled).intervals == ()


def test_topics_that_held_out_rows_take_for_each_other_are_refused():
    """The job's rows alone would seem to settle it; held-out rows show that what is told apart is not what is true."""
    topics = Topics(("a", "b"), (50, 50))
    targets = torch.arange(2).repeat_interleave(60)
    confused = torch.where((torch.arange(120) % 5 < 2), 1 - targets, targets)
    sure = torch.nn.functional.one_hot(confused, 2) * 8.0
    corrector = PosteriorCorrector(topics, topics.prior, Calibration(), topics.prior).calibrate(sure, targets, "none")
    job = torch.nn.functional.one_hot((torch.arange(400) % 10 == 0).long(), 2) * 8.0
    assert max(estimate_target(dataclasses.replace(corrector, rows=None), job).errors) < 0.05
    with pytest.raises(UserError, match="cannot be estimated"):
        estimate_target(corrector, job)


def test_few_rows_are_shrunk_toward_the_training_shares(corrector, reversed_rows):
    few, many = (estimate_target(corrector, reversed_rows[:rows]) for rows in (120, 3000))
    assert 0 < few.divergence < many.divergence


def test_a_system_fitted_without_a_prior_adapts_to_the_rows_of_a_job(fitted, shifted, tmp_path, capsys):
    assert fitted[0].adapts
    for command, name in (("evaluate", "evaluation"), ("predict", "out.jsonl")):
        options = ["--model", str(fitted[1]), "--input", shifted, "--output", str(tmp_path / name), "--device", "cpu"]
        with pytest.raises(SystemExit) as ended:
            main([command, *options, "--generation.max_new_tokens", "1"])
        assert ended.value.code == 0
    measured = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    prior = json.loads((tmp_path / "out.jsonl.job" / "job.json").read_text())["prior"]
    assert prior["shares"] == pytest.approx(measured["target_prior"])
    assert sorted(prior["intervals"]) == ["football", "harbour", "harvest"]
    assert all(low <= prior["shares"][topic] <= high for topic, (low, high) in prior["intervals"].items())
    assert set(measured["views"]) == {"uniform", "train"}
    assert "target prior train" in capsys.readouterr().out


def test_an_adapted_prior_lies_between_tempered_shares_and_what_the_rows_say():
    topics = Topics(("a", "b"), (90, 10))
    corrector = PosteriorCorrector(topics, (0.5, 0.5), Calibration(), (0.5, 0.5))
    nothing = adapt_target(corrector, torch.empty(0, 2))
    eighth_root = 10**0.125 / (90**0.125 + 10**0.125)
    assert nothing.prior == pytest.approx([1 - eighth_root, eighth_root])
    sure = torch.tensor([[-9.0, 9.0]]).repeat(2000, 1)
    assert adapt_target(corrector, sure).prior[1] > 0.98
    assert adapt_target(corrector, sure[:20]).prior[1] == pytest.approx((20 + 40 * eighth_root) / 60, abs=0.01)
    assert sum(adapt_target(corrector, sure).shares.values()) == pytest.approx(1)
