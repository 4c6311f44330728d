"""The sets of a fit: what is refused before anything is trained, and what is left out."""

import pytest

from unskew.common import UserError, write_jsonl
from unskew.pipeline import DataSettings, FitSettings, fit, read_sets


def data(path, **more):
    return FitSettings(data=DataSettings(train=str(path), **more))


def test_missing_targets_are_said_before_training(make_rows, tmp_path):
    made = [{**row, "target": None} for row in make_rows({"harvest": 3, "harbour": 3}, 0, "r")]
    write_jsonl(tmp_path / "train.jsonl", made)
    with pytest.raises(UserError, match="no row has a target"):
        fit(data(tmp_path / "train.jsonl"), tmp_path / "bundle")


def test_noisy_rows_that_share_an_id_are_not_lost(make_rows, tmp_path):
    write_jsonl(tmp_path / "train.jsonl", make_rows({"harvest": 20, "harbour": 20}, 0, "train"))
    held_out = read_sets(data(tmp_path / "train.jsonl").data, 0).validation[0]
    rows = [{"id": "1", "text": held_out.text, "topic": "harvest"}, {"id": "1", "text": "new", "topic": "harvest"}]
    write_jsonl(tmp_path / "noisy.jsonl", rows)
    sets = read_sets(data(tmp_path / "train.jsonl", noisy=str(tmp_path / "noisy.jsonl")).data, 0)
    assert [record.text for record in sets.noisy] == ["new"]


def test_empty_file(tmp_path):
    (tmp_path / "train.jsonl").write_text("")
    with pytest.raises(UserError, match="no rows"):
        fit(data(tmp_path / "train.jsonl"), tmp_path / "bundle")


def test_one_topic(make_rows, tmp_path):
    write_jsonl(tmp_path / "train.jsonl", make_rows({"harvest": 5}, 0, "r"))
    with pytest.raises(UserError, match="only the topic 'harvest'"):
        fit(data(tmp_path / "train.jsonl"), tmp_path / "bundle")


def test_missing_topic_names_file_and_line(make_rows, tmp_path):
    made = make_rows({"harvest": 3, "harbour": 3}, 0, "r")
    del made[4]["topic"]
    write_jsonl(tmp_path / "train.jsonl", made)
    with pytest.raises(UserError, match=r"train\.jsonl, line 5"):
        fit(data(tmp_path / "train.jsonl"), tmp_path / "bundle")


def test_validation_text_in_training_is_refused(corpus, tmp_path):
    with pytest.raises(UserError, match="also occur in"):
        fit(data(corpus / "train.jsonl", validation=str(corpus / "train.jsonl")), tmp_path / "bundle")
