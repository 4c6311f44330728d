from dataclasses import replace

import pytest
from jsonargparse import ArgumentParser

from unskew.balance import LossSettings
from unskew.common import UserError
from unskew.decoder import DecoderSettings, GenerationSettings
from unskew.training import PhaseSettings


def test_all_problems_are_reported_at_once():
    with pytest.raises(UserError) as caught:
        DecoderSettings(rank=0, dropout=1.0, adaptation="most", prompt="no text", max_tokens=-1)  # pyright: ignore[reportArgumentType]
    for word in ("rank", "dropout", "most", "{text}", "max_tokens"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"condition": "word"}, "condition is 'word'"),
        ({"condition": "text", "topic_loss": LossSettings()}, "topic_loss needs condition token"),
        ({"condition": "text", "noisy_topic_loss": LossSettings()}, "topic_loss needs condition token"),
        ({"condition": "both", "topic_loss": LossSettings()}, "topic_loss needs condition token"),
        ({"topic_rate": 0.0}, "topic_rate is 0.0"),
        ({"topic_rate": 0.1, "adaptation": "full"}, "topic_rate and rows_first need adaptation"),
        ({"rows_first": PhaseSettings(epochs=1), "adaptation": "full"}, "topic_rate and rows_first need adaptation"),
        ({"topic_dropout": 1.0}, "topic_dropout is 1.0"),
        (
            {"topic_dropout": 0.1, "topic_loss": LossSettings()},
            "topic_dropout is for a decoder that is given its topic",
        ),
        ({"text_swap": -0.1}, "text_swap is -0.1"),
        ({"text_swap": 1.1}, "text_swap is 1.1"),
        ({"text_swap": 0.1, "topic_loss": LossSettings()}, "text_swap is for a decoder that is given its topic"),
        ({"obedience_every": 0}, "obedience_every is 0"),
        ({"alpha": 10**20}, "at most 1000 times the rank of 16"),
        ({"sampling_ratio": 0.5}, "sampling_ratio is 0.5"),
        ({"sampling_ratio": float("nan")}, "sampling_ratio is nan"),
        ({"sampling_ratio": 5.0, "fairness": True}, "at most 3 with fairness"),
    ],
)
def test_settings_that_make_no_sense(changes, said):
    with pytest.raises(UserError, match=said):
        DecoderSettings(**changes)


def test_a_base_has_gentler_defaults_unless_told():
    settings = DecoderSettings(base="x").resolved(4096)
    assert settings.clean.rate == settings.noisy.rate < DecoderSettings().resolved().clean.rate / 5
    own = PhaseSettings(epochs=0)
    assert DecoderSettings(base="x", noisy=own).resolved().noisy.epochs == 0


@pytest.mark.parametrize(
    ("adaptation", "width", "rate"),
    [("lora", 576, 2e-3), ("lora", 64, 2e-3), ("lora", 2048, 7.4e-4), ("full", 576, 2e-4), ("top_blocks", 576, 2e-4)],
)
def test_the_rate_of_a_base_falls_with_its_width_and_adapters_take_ten_times_as_much(adaptation, width, rate):
    settings = DecoderSettings(base="x", adaptation=adaptation)
    assert settings.resolved().clean.learning_rate is None
    assert settings.resolved(width).clean.rate == pytest.approx(rate, rel=0.01)
    given = replace(settings, clean=PhaseSettings(learning_rate=1e-4))
    assert given.resolved(width).clean.rate == 1e-4


def test_one_field_given_leaves_the_others_to_the_base():
    usual = DecoderSettings(base="x").resolved(576)
    given = DecoderSettings(base="x", clean=PhaseSettings(epochs=1)).resolved(576)
    assert given == replace(usual, clean=replace(usual.clean, epochs=1))


def test_a_rate_that_would_wipe_out_a_base_is_refused():
    with pytest.raises(UserError, match=r"clean.learning_rate is 0.004.*at most 0.002"):
        DecoderSettings(base="x", clean=DecoderSettings().resolved().clean)


@pytest.mark.parametrize("guidance", [0, -1, 0.99, 11, 1e9, float("inf"), float("nan")])
def test_guidance_that_makes_no_sense(guidance):
    with pytest.raises(UserError, match=r"guidance is .*must be a number from 1 \(none\) to 10"):
        GenerationSettings(guidance=guidance)


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0}, {"temperature": 1e-40}, {"top_p": 0}, {"max_new_tokens": 0}, {"tokens_per_batch": 0}],
)
def test_generation_settings_check_themselves(change):
    with pytest.raises(UserError, match=next(iter(change))):
        GenerationSettings(**change)


def test_the_prompt_is_plain_from_scratch_and_instructs_a_base():
    assert (DecoderSettings().prompt_in_force, DecoderSettings(base="x").prompt_in_force) == ("plain", "instruction")
    assert DecoderSettings(base="x", prompt="plain").prompt_in_force == "plain"


def test_settings_come_from_a_command_line():
    parser = ArgumentParser()
    parser.add_argument("--decoder", type=DecoderSettings)
    given = ["--decoder.base=x", "--decoder.adaptation=top_blocks", "--decoder.topic_loss.name=focal"]
    given += ["--decoder.clean.epochs=7", "--decoder.clean.learning_rate=2e-4"]
    parsed = parser.instantiate_classes(parser.parse_args(given)).decoder
    assert (parsed.base, parsed.adaptation, parsed.clean.epochs) == ("x", "top_blocks", 7)
    assert parsed.topic_loss == LossSettings(name="focal")


def test_a_base_named_after_the_defaults_gets_the_instruction():
    import dataclasses

    assert DecoderSettings().prompt_in_force == "plain"
    assert dataclasses.replace(DecoderSettings(), base="some/base").prompt_in_force == "instruction"
    assert DecoderSettings(base="some/base", prompt="plain").prompt_in_force == "plain"


@pytest.mark.parametrize("tokens", [0, -5, 10**12])
def test_an_output_without_end_is_refused(tokens):
    with pytest.raises(UserError, match=f"max_new_tokens is {tokens}, must be between 1 and"):
        GenerationSettings(max_new_tokens=tokens)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"base": "b"}, (0.25, 0.01)),
        ({}, (0.0, None)),
        ({"base": "b", "adaptation": "full"}, (0.25, None)),
        ({"base": "b", "topic_loss": LossSettings()}, (0.0, None)),
        ({"base": "b", "text_swap": 0.0, "topic_rate": 1e-3}, (0.0, 1e-3)),
    ],
)
def test_only_a_pretrained_base_that_is_given_topics_is_made_to_follow_them(settings, expected):
    resolved = DecoderSettings(**settings).resolved()
    assert (resolved.text_swap, resolved.topic_rate) == expected
