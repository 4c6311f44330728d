"""Loggers by name: curves and final metrics, a tracker that is missing, and one that fails."""

import dataclasses
import logging

import pytest
from lightning.pytorch.loggers import CSVLogger

from unskew.common import UserError
from unskew.pipeline import fit
from unskew.training import check_logger, loggers, make_logger


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_read(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'unskew\[mlflow\]'"):
        fit(tiny, tmp_path / "out", logger="mlflow")
    assert not (tmp_path / "out.work").exists()
    check_logger("csv")


def test_a_tracker_that_does_not_answer_is_said_once_and_left_alone(tmp_path, monkeypatch, caplog):
    asked = []

    def refuses(*_):
        asked.append(1)
        raise ConnectionError("connection refused")

    monkeypatch.setattr(loggers, "find_spec", lambda name: name)
    monkeypatch.setattr(loggers, "_open", refuses)
    logger = make_logger("wandb", tmp_path, "encoder, clean")
    with caplog.at_level(logging.WARNING):
        for step in range(3):
            logger.log_metrics({"loss": 1.0}, step)
        logger.finalize("success")
    assert len(asked) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "encoder, clean: wandb does not answer (connection refused); the fit goes on without it"
    ]


def test_curves_and_final_measures_reach_a_csv_file(tmp_path):
    logger = make_logger("csv", tmp_path, "run")
    assert isinstance(logger, CSVLogger)
    logger.log_metrics({"final/accuracy": 0.5})
    logger.finalize("success")
    assert "final/accuracy" in next(tmp_path.rglob("metrics.csv")).read_text()


def test_a_fit_with_tensorboard_has_curves_of_the_run_and_the_final_measures(tiny, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    fitted = fit(dataclasses.replace(tiny, decoder=None), tmp_path / "out", logger="tensorboard")
    found = {}
    for events in (tmp_path / "out.work").rglob("events.out.tfevents.*"):
        read = accumulator.EventAccumulator(str(events))
        read.Reload()
        found |= {name: read.Scalars(name) for name in read.Tags()["scalars"]}
    assert found["final/accuracy"][0].value == pytest.approx(fitted.metrics["validation"]["accuracy"])
    assert any(name.startswith("validation/") for name in found)
