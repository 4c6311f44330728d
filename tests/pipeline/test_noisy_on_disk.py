"""Rows that stay on disk are the rows that memory would hold, and train to the same weights."""

import dataclasses

import pytest
import torch

from unskew.balance import Calibration, PosteriorCorrector
from unskew.common import write_jsonl
from unskew.decoder import fit_decoder
from unskew.encoder import fit_encoder, relabel_rows
from unskew.pipeline import DataSettings, read_sets


@pytest.fixture(scope="module")
def both(corpus, make_rows, tmp_path_factory):
    """The same sets in memory and on disk; of the noisy rows some have an unknown topic, another spelling, a leak."""
    folder = tmp_path_factory.mktemp("both")
    data = DataSettings(str(corpus / "train.jsonl"), str(folder / "noisy.jsonl"), merge_spellings=True)
    held_out = read_sets(dataclasses.replace(data, noisy=None), 0).validation[0]
    noisy = make_rows({"harvest": 60, "harbour": 30, "football": 9}, 1, "noisy")
    noisy[3]["topic"], noisy[4]["topic"], noisy[5]["text"] = "weather", "HARVEST", f"  {held_out.text}"
    noisy[6]["target"] = noisy[7]["target"] = None
    write_jsonl(folder / "noisy.jsonl", noisy)
    return read_sets(data, 0), read_sets(data, 0, cache=folder / "rows")


def test_the_same_rows_are_chosen(both):
    memory, disk = both
    assert len(memory.noisy) == 97
    assert list(disk.noisy) == memory.noisy


def test_both_stages_end_with_the_same_weights(both, tiny, tmp_path):
    fitted = []
    for name, sets in zip(("memory", "disk"), both, strict=True):
        given = (sets.train, sets.validation)
        encoder = fit_encoder(*given, sets.noisy, sets.topics, tiny.encoder, tmp_path / name)
        uniform = (1 / 3,) * 3
        noisy = relabel_rows(sets.noisy, encoder, PosteriorCorrector(sets.topics, uniform, Calibration(), uniform))
        decoder = fit_decoder(*given, noisy, sets.topics, tiny.decoder, tmp_path / name)
        fitted.append((encoder.model.state_dict(), [record.topic for record in noisy], decoder.model.state_dict()))
    (first, topics, second), (other_first, other_topics, other_second) = fitted
    assert topics == other_topics
    for ours, theirs in ((first, other_first), (second, other_second)):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
