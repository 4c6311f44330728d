"""Which trial is kept, and what a fit's held-out loss is."""

import csv
import math

import pytest
import torch
from sklearn.metrics import log_loss

from unskew.balance import Calibration, PosteriorCorrector
from unskew.common import UserError
from unskew.corpus import Topics
from unskew.tuning import StudyResult, TrialResult
from unskew.tuning.held_out_loss import losses_of


def trial(number, losses, failure=None):
    return TrialResult(number, {"encoder.clean.epochs": number + 1}, 1.0, tuple(losses), "rows", failure)


def test_the_lowest_loss_is_kept_where_it_is_lower_by_more_than_its_standard_error():
    default = trial(0, [1.0, 2.0, 3.0, 4.0])
    surely = trial(1, [0.9, 1.8, 2.9, 3.8])  # gains of 0.1, 0.2, 0.1, 0.2
    perhaps = trial(2, [0.0, 2.5, 3.5, 3.0])  # gains of 1, -0.5, -0.5, 1
    found = StudyResult([default, surely, trial(3, [], "it diverged")])
    assert found.gain(surely) == pytest.approx((0.15, math.sqrt(0.01 / 3) / 2))
    assert found.kept is surely
    assert "0.1500 better, standard error 0.0289" in str(found)
    assert "3 trials, 1 of them failed" in str(found)
    unsure = StudyResult([default, perhaps])
    assert unsure.gain(perhaps) == pytest.approx((0.25, math.sqrt(0.75) / 2))
    assert unsure.kept is default
    assert "the default is kept" in str(unsure)


def test_a_table_has_a_line_for_each_trial(tmp_path):
    StudyResult([trial(0, [1.0, 2.0]), trial(1, [], "it diverged")]).write_table(tmp_path / "trials.csv")
    rows = list(csv.DictReader((tmp_path / "trials.csv").open()))
    assert [row["encoder.clean.epochs"] for row in rows] == ["1", "2"]
    assert [row["failure"] for row in rows] == ["", "it diverged"]
    assert float(rows[0]["log_loss"]) == 1.5


def test_a_result_comes_back_from_its_file(tmp_path):
    trial(3, [0.5, 0.25]).save(tmp_path / "3.json")
    assert TrialResult.load(tmp_path / "3.json") == trial(3, [0.5, 0.25])
    (tmp_path / "3.json").write_text("{")
    with pytest.raises(UserError, match="not the result of a trial"):
        TrialResult.load(tmp_path / "3.json")


def test_the_loss_is_half_that_of_the_rows_as_they_come_and_half_that_with_topics_alike():
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 1, 2])
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    uniform = (1 / 3,) * 3
    counts = (50, 20, 10)
    topics = Topics.from_labels([name for name, count in zip("abc", counts, strict=True) for _ in range(count)])
    corrector = PosteriorCorrector(topics, uniform, Calibration(), uniform).calibrate(logits, labels, "none")
    trained = torch.tensor(counts) / sum(counts)
    natural = (logits + trained.log()).softmax(-1)  # the logits favour no topic
    shares = torch.bincount(labels) / len(labels)
    as_they_come = log_loss(labels, natural, sample_weight=(trained / shares)[labels])
    alike = log_loss(labels, logits.softmax(-1), sample_weight=(1 / shares)[labels])
    losses = losses_of(corrector)
    assert sum(losses) / len(losses) == pytest.approx((as_they_come + alike) / 2, abs=2e-3)  # kept as float16
    with pytest.raises(UserError, match="held out no rows"):
        losses_of(PosteriorCorrector(topics, uniform, Calibration(), uniform))


def test_a_row_is_scored_by_a_calibration_that_did_not_see_it():
    topics, uniform = Topics.from_labels("abcdef" * 10), (1 / 6,) * 6
    honest = 2 * torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.multinomial(honest.softmax(-1), 1, generator=torch.Generator().manual_seed(1))[:, 0]
    corrector = PosteriorCorrector(topics, uniform, Calibration(), uniform).calibrate(4 * honest, labels, "temperature")
    report = corrector.calibration.report
    assert report is not None
    assert report.kept
    # All training shares are equal, so both halves of the loss are what the calibration's own folds found.
    assert sum(losses_of(corrector)) / 60 == pytest.approx(report.nll_after, abs=1e-3)
    weights = (10 / torch.bincount(labels))[labels]
    seen = (-corrector.calibrated_log_probs(4 * honest).gather(-1, labels[:, None])[:, 0] * weights).mean()
    assert report.nll_after > seen + 5e-3
