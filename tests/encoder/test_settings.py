"""Settings check themselves and can be read from a config."""

from dataclasses import replace

import pytest
from jsonargparse import ArgumentParser

from unskew.balance import LossSettings
from unskew.common import UserError
from unskew.encoder import EncoderSettings
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
    assert EncoderSettings("some/base", recipe="probe", clean=none).resolved().clean.is_left_out
    with pytest.raises(UserError, match="clean.epochs is 0, but recipe tuned fine-tunes; give at least 1, or recipe p"):
        EncoderSettings("some/base", clean=none)
    with pytest.raises(UserError, match="head.epochs and clean.epochs are both 0"):
        EncoderSettings("some/base", recipe="phases", clean=none)


def test_settings_of_the_phases_are_refused_beside_another_recipe():
    with pytest.raises(UserError, match=r"loss has no effect with recipe tuned.*recipe phases"):
        EncoderSettings("some/base", loss=LossSettings("focal"))
    assert EncoderSettings("some/base", recipe="phases", loss=LossSettings("focal")).resolved().loss.name == "focal"
