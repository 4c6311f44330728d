"""Settings check themselves and can be read from a config."""

import json
from dataclasses import asdict, replace

import pytest
from jsonargparse import ArgumentParser

from unskew.balance import LossSettings
from unskew.common import UserError
from unskew.encoder import EncoderSettings
from unskew.encoder.settings import UNUSED
from unskew.training import PhaseSettings


def test_all_problems_are_reported_at_once():
    none = PhaseSettings(epochs=0)
    with pytest.raises(UserError) as caught:
        EncoderSettings(max_tokens=1, layer_decay=2, sampling_ratio=0.5, head=none, clean=none)
    for word in ("max_tokens", "layer_decay", "sampling_ratio", "clean.epochs"):
        assert word in str(caught.value)


def test_a_base_gets_gentler_rates_unless_told():
    given = PhaseSettings(epochs=2, learning_rate=3e-5)
    settings = EncoderSettings(base="some/base", recipe="phases", clean=given).resolved()
    assert (settings.clean.epochs, settings.clean.learning_rate) == (2, 3e-5)
    assert settings.noisy.rate < EncoderSettings().resolved().noisy.rate / 5


def test_one_field_given_leaves_the_others_to_the_base():
    for base in (None, "some/base"):
        usual = EncoderSettings(base).resolved().clean
        assert EncoderSettings(base, clean=PhaseSettings(epochs=7)).resolved().clean == replace(usual, epochs=7)


def test_what_is_given_stays_even_where_it_is_the_default_of_a_model_from_scratch():
    scratch = EncoderSettings().resolved().clean
    given = replace(scratch, learning_rate=4e-4)
    assert EncoderSettings("some/base", clean=given).resolved().clean == given


def test_resolving_twice_changes_nothing():
    settings = EncoderSettings("some/base").resolved()
    assert settings.resolved() == settings


def test_a_rate_that_would_wipe_out_a_base_is_refused():
    with pytest.raises(UserError, match="clean.learning_rate"):
        EncoderSettings(base="some/base", clean=EncoderSettings().resolved().clean)


def test_settings_come_from_a_config(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("encoder:\n  max_tokens: 64\n  loss: {name: focal}\n  head: {epochs: 3}\n")
    parser = ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_argument("--encoder", type=EncoderSettings, default=EncoderSettings())
    parsed = parser.parse_args(["--config", str(config), "--encoder.clean.epochs", "4"])
    settings = parser.instantiate_classes(parsed).encoder
    assert (settings.max_tokens, settings.loss.name, settings.head.epochs, settings.clean.epochs) == (64, "focal", 3, 4)
    assert settings.resolved().clean.learning_rate == EncoderSettings().resolved().clean.learning_rate


def test_trainer_arguments_pass_through():
    parser = ArgumentParser()
    parser.add_argument("--encoder", type=EncoderSettings, default=EncoderSettings())
    given = ["--encoder.trainer", "{accelerator: cpu, devices: 2, strategy: ddp}"]
    settings = parser.instantiate_classes(parser.parse_args(given)).encoder
    assert settings.trainer == {"accelerator": "cpu", "devices": 2, "strategy": "ddp"}


def test_the_recipe_is_what_suits_the_base():
    assert EncoderSettings().resolved().recipe == "phases"
    assert EncoderSettings("some/base").resolved().recipe == "tuned"
    with pytest.raises(UserError, match="recipe probe needs a pretrained base"):
        EncoderSettings(recipe="probe")


def test_no_epochs_are_refused_where_epochs_would_learn():
    none = PhaseSettings(epochs=0)
    with pytest.raises(UserError, match="clean.epochs is 0, but recipe tuned fine-tunes; give at least 1, or recipe p"):
        EncoderSettings("some/base", clean=none)
    with pytest.raises(UserError, match="head.epochs and clean.epochs are both 0"):
        EncoderSettings("some/base", recipe="phases", clean=none)


GIVEN = {
    "loss": LossSettings("focal"),
    "sampling_ratio": 3.0,
    "names": False,
    "rows_per_batch": 8,
    "max_steps": 50,
    "tokens_per_batch": 512,
    "layer_decay": 0.8,
    "clean.epochs": 3,
    "clean.learning_rate": 1e-3,
    "clean.warmup_share": 0.2,
    "clean.weight_decay": 0.1,
    "clean.patience": 1,
    "clean.max_steps": 50,
    "clean.max_tokens": "1M",
}


@pytest.mark.parametrize("recipe", ["tuned", "probe", "phases"])
@pytest.mark.parametrize("name", GIVEN)
def test_what_another_recipe_alone_has_is_refused(recipe, name):
    first, _, inner = name.partition(".")
    settings = {first: PhaseSettings(**{inner: GIVEN[name]}) if inner else GIVEN[name]}
    if name not in UNUSED[recipe]:
        lower = {"clean": PhaseSettings(learning_rate=1e-4)} if name == "clean.learning_rate" else settings
        EncoderSettings("some/base", recipe=recipe, **lower)
        return
    others = " or ".join(other for other in UNUSED if name not in UNUSED[other])
    with pytest.raises(UserError) as caught:
        EncoderSettings("some/base", recipe=recipe, **settings)
    said = f"encoder: {name} has no effect with recipe {recipe}; leave it out, or give recipe {others}"
    assert str(caught.value) == said


@pytest.mark.parametrize("given", [(None, None), ("b", "tuned"), ("b", "probe"), ("b", "phases")])
def test_resolved_settings_read_back_are_the_same(given):
    settings = EncoderSettings(*given).resolved()
    parser = ArgumentParser()
    parser.add_argument("--encoder", type=EncoderSettings)
    printed = json.dumps(asdict(settings))
    assert parser.instantiate_classes(parser.parse_args(["--encoder", printed])).encoder == settings


def test_settings_of_another_recipe_can_be_those_of_phases():
    tuned = EncoderSettings("some/base", rows_per_batch=8, max_steps=50, names=False, max_tokens=64)
    assert tuned.by_phases() == EncoderSettings("some/base", recipe="phases", max_tokens=64)
