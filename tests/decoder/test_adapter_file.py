"""An adapter's file added to its base: to the bit what PEFT's merge gives, and left to PEFT where it is not plain."""

import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from unskew.common import UserError
from unskew.decoder import saving
from unskew.decoder.adapter_file import FILE, merge_file


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def folder(request, make_base, make_decoder, tmp_path):
    decoder = make_decoder(make_base(tmp_path / "base", tied=request.param))
    decoder.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def change(folder, **values):
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | values))
    return config | values


def by_peft(folder):
    """The state that PEFT's own merge gives."""
    model: Any = saving.load(folder, merge=False).model
    return model.merge_and_unload().state_dict()


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_it_gives_what_peft_gives_without_peft(folder, monkeypatch):
    expected = by_peft(folder)
    monkeypatch.setattr(saving.PeftModel, "from_pretrained", None)  # would fail
    parts = saving.load(folder, merge=True)
    assert same(parts.model.state_dict(), expected)
    assert (parts.base, parts.base_is_ours) == (None, False)
    assert not parts.model.training


@pytest.mark.parametrize("values", [{"use_rslora": True}, {"alpha_pattern": {"model.layers.0.mlp.up_proj": 3}}])
def test_other_kinds_of_lora_are_merged_by_peft(folder, values):
    change(folder, **values)
    assert same(saving.load(folder, merge=True).model.state_dict(), by_peft(folder))


@pytest.mark.parametrize("values", [{"bias": "all"}, {"init_lora_weights": "pissa"}, {"some_future_setting": 1}])
def test_settings_that_it_does_not_know_are_left_to_peft(folder, values):
    model = saving.load(folder, merge=True).model
    assert not merge_file(model, folder, change(folder, **values))


def test_further_weights_are_left_to_peft(folder):
    weights = load_file(folder / FILE)
    save_file({**weights, "base_model.model.model.norm.weight": torch.ones(16)}, folder / FILE)
    model = saving.load(folder, merge=True).model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert not merge_file(model, folder, change(folder))
    assert same(model.state_dict(), before)


@pytest.mark.parametrize("shapes", [((2, 16), (1, 2)), ((2, 16), (16, 1)), ((1, 16), (16, 1))])
def test_a_change_of_another_shape_or_rank_is_refused(folder, shapes):
    weights = load_file(folder / FILE)
    name = next(name for name in weights if name.endswith("q_proj.lora_B.weight")).removesuffix("B.weight")
    changed = {f"{name}{part}.weight": torch.ones(shape) for part, shape in zip("AB", shapes, strict=True)}
    save_file(weights | changed, folder / FILE)
    with pytest.raises(UserError, match="damaged"):
        saving.load(folder, merge=True)
