"""Reading a model that transformers wrote, and saying what is not there in words of files, not of the hub."""

import pytest
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification
from transformers.utils import logging

from unskew.common import UserError
from unskew.runtime import read_config, read_model


@pytest.fixture
def bars():
    """The descriptions of the progress bars that transformers makes."""
    made = []
    before = logging.set_tqdm_hook(
        lambda factory, given, options: made.append(options["desc"]) or logging.EmptyTqdm(*given, **options)
    )
    yield made
    logging.set_tqdm_hook(before)


def test_a_model_is_read_without_a_progress_bar_and_others_keep_theirs(tmp_path, bars):
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertForSequenceClassification(BertConfig(vocab_size=20, **small)).save_pretrained(tmp_path)
    bars.clear()
    read_model(AutoModelForSequenceClassification, tmp_path, read_config(tmp_path))
    assert bars == []
    AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert "Loading weights" in bars


@pytest.mark.parametrize("name", ["{}/nope", "./nope", "../no/such/base"])
def test_a_missing_folder_is_said_to_be_one(tmp_path, name):
    missing = name.format(tmp_path)
    with pytest.raises(UserError, match=f"^there is no folder {missing}; give a folder with a model, or a hub id$"):
        read_config(missing)
