"""Whether a decoder listens, by decoders whose habits are known."""

import csv
import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoTokenizer, MistralConfig, MistralForCausalLM

from unskew.common import UserError
from unskew.corpus import Record, Topics
from unskew.decoder import GenerationSettings, Obedience, ObedienceTrial, fit_decoder, make_judge, measure_obedience
from unskew.training import PhaseSettings

RECORDS = [
    Record(f"text {i}", str(i), topic, f"{topic} desk") for i, topic in enumerate(["sea", "sea", "farm", "sky", "sea"])
]
TOPICS = ["farm", "sea", "sky"]


class Stub:
    """Writes its topic's word, or the right one whatever it is given."""

    def __init__(self, listens):
        self.listens = listens

    def generate(self, texts, topics, options=None):
        own = {record.text: record.topic for record in RECORDS}
        return [f"{topic if self.listens else own[text]} desk" for text, topic in zip(texts, topics, strict=True)]

    def target_log_probs(self, texts, topics, targets):
        return torch.tensor(
            [0.0 if target.startswith(topic) else -2.0 for topic, target in zip(topics, targets, strict=True)]
        )


@pytest.fixture
def judge():
    return make_judge(["sea desk", "farm desk", "sky desk"] * 3, ["sea", "farm", "sky"] * 3)


@pytest.mark.parametrize(("listens", "wrong"), [(True, 1.0), (False, 0.0)])
def test_what_is_followed_under_wrong_topics(listens, wrong, judge):
    found = measure_obedience(Stub(listens), ObedienceTrial.sample(RECORDS, TOPICS, 10), judge)
    assert found == Obedience(rows=5, right=1.0, wrong=wrong, targets=1.0, ignoring=0.0, gap=2.0)
    assert found.listens is listens
    assert f"a wrong one in {wrong:.0%}" in str(found)


@pytest.mark.parametrize(
    ("wrong", "ignoring", "targets", "listens"),
    [
        (0.62, 0.6, 1.0, False),  # what a deaf decoder reaches if topics share most of their slots
        (0.82, 0.6, 1.0, True),
        (0.79, 0.6, 1.0, False),
        (0.4, 0.01, 0.654, True),  # true headlines do not read like their topic more often than that
        (0.9, 0.95, 0.95, None),
        (0.9, 0.97, 0.95, None),
    ],
)
def test_following_wrong_topics_counts_from_what_ignoring_them_gives(wrong, ignoring, targets, listens):
    assert Obedience(20, targets, wrong, targets, ignoring, 0.1).listens is listens


def test_every_topic_has_its_turn_and_no_text_its_own_as_a_wrong_one():
    trial = ObedienceTrial.sample(
        [*RECORDS, replace(RECORDS[0], target=" "), replace(RECORDS[0], topic="fog")], TOPICS, 3
    )
    assert sorted(trial.right) == TOPICS
    assert all(own not in others and len(others) == 2 for own, others in zip(trial.right, trial.wrong, strict=True))
    assert trial == ObedienceTrial.sample(RECORDS, TOPICS, 3)
    assert (
        measure_obedience(Stub(True), ObedienceTrial.sample(RECORDS, ["sea"], 3), make_judge(["a", "b"], ["x", "y"]))
        is None
    )


def test_log_probabilities_are_those_of_a_plain_pass(shared_base, make_decoder):
    decoder = make_decoder(shared_base)
    texts, targets = ["Ada spoke.", "Bob " * 20, "Cy"], ["oil news: Ada", "wheat", "oil news: Cy " * 3]
    found = decoder.target_log_probs(texts, ["oil", "wheat", "wheat"], targets)
    for i, topic in enumerate(["oil", "wheat", "wheat"]):
        prompt = [*decoder._sequencer.prompts(texts[i : i + 1])[0], decoder.control.topic_id(topic)]
        target = decoder._sequencer.targets(targets[i : i + 1], decoder.max_target_tokens)[0]
        ids = torch.tensor([[*prompt, *target]])
        labels = torch.tensor([[-100] * len(prompt) + target])
        assert found[i].item() == pytest.approx(-decoder.model(input_ids=ids, labels=labels).loss.item(), abs=1e-4)


def test_a_curve_is_measured_as_training_goes_on(base, make_settings, topics, records, tmp_path, monkeypatch):
    monkeypatch.setattr("unskew.decoder.fitting.CURVE_ROWS", 3)
    settings = make_settings(
        base=base, obedience_every=4, max_target_tokens=8, clean=PhaseSettings(epochs=2, learning_rate=2e-3)
    )
    curved = fit_decoder(records, records[:6], None, topics, settings, tmp_path / "curved")
    path = next(tmp_path.glob("curved/clean-*/obedience.csv"))
    rows = list(csv.DictReader(path.open()))
    steps = [int(row["step"]) for row in rows]
    assert steps == list(range(0, steps[-1] + 1, 4))
    assert len(steps) > 2
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in ("right", "wrong"))
    assert path.with_suffix(".png").stat().st_size > 5000
    plain = fit_decoder(records, records[:6], None, topics, replace(settings, obedience_every=None), tmp_path / "plain")
    assert all(torch.equal(value, plain.model.state_dict()[name]) for name, value in curved.model.state_dict().items())


def test_without_validation_rows_of_a_topic_with_targets_there_is_no_curve(base, make_settings, records, tmp_path):
    topics = Topics.from_labels([*(record.topic for record in records), "gold"])
    settings = make_settings(base=base, obedience_every=1, clean=PhaseSettings(epochs=1, max_steps=2))
    fit_decoder(records, [replace(records[0], topic="gold")], None, topics, settings, tmp_path)
    assert not list(tmp_path.glob("clean-*/obedience.csv"))


def test_a_topic_without_targets_is_said_and_can_be_written_under(base, make_settings, records, tmp_path, caplog):
    topics = Topics.from_labels([*(record.topic for record in records), "gold"])
    silent = [*records, replace(records[0], topic="gold", target=None)]
    with caplog.at_level(logging.WARNING, "unskew"):
        decoder = fit_decoder(silent, records[:6], None, topics, make_settings(base=base), tmp_path)
    assert "no row with a target has the topic gold: the token is not trained" in caplog.text
    assert isinstance(decoder.generate(["Ada"], ["gold"], GenerationSettings(4))[0], str)


def test_a_decoder_without_tokens_is_not_told_of_one(base, make_settings, records, tmp_path, caplog):
    topics = Topics.from_labels([*(record.topic for record in records), "gold"])
    fit_decoder(records, records[:6], None, topics, make_settings(base=base, condition="text"), tmp_path)
    (untaught,) = (message for message in caplog.messages if "gold" in message)
    assert "nothing was learnt under its name" in untaught
    assert "token" not in untaught


@pytest.mark.parametrize("tied", [True, False])
def test_rows_first_train_alone_and_at_their_own_rate(
    tied, make_base, make_settings, topics, records, tmp_path, monkeypatch
):
    seen = []
    step = torch.optim.AdamW.step

    def noting(self, *args, **options):
        names = {(len(group["params"]), round(group["initial_lr"], 9)) for group in self.param_groups}
        seen.append(names)
        return step(self, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", noting)
    base = make_base(tmp_path / "base", tied=tied)
    rows = PhaseSettings(epochs=1, learning_rate=0.05)
    settings = make_settings(base=base, rows_first=rows, topic_rate=0.03)
    fit_decoder(records, records[:6], None, topics, settings, tmp_path / "fit")
    matrices = 1 if tied else 2
    assert seen[0] == {(matrices, 0.05)}
    assert (matrices, 0.03) in seen[-1]
    assert {rate for _, rate in seen[-1]} == {0.03, 2e-3}


def test_a_decoder_that_never_wrote_without_a_topic_is_not_guided(shared_base, make_decoder):
    decoder = make_decoder(shared_base)
    with pytest.raises(UserError, match="fit with a topic_dropout"):
        decoder.generate(["Cy"], ["oil"], GenerationSettings(4, guidance=2))
    decoder.unguided = True
    decoder._vllm = SimpleNamespace()
    with pytest.raises(UserError, match="backend torch"):
        decoder.generate(["Cy"], ["oil"], GenerationSettings(4, guidance=2))


def test_a_base_with_sliding_windows_is_not_guided(make_settings, topics, records, tmp_path, caplog, make_base):
    """This is known after the fit, so a job refuses guidance before it loads a model, and not at its first output."""
    tokenizer = AutoTokenizer.from_pretrained(make_base(tmp_path / "base"))
    config = MistralConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, sliding_window=4,
    )  # fmt: skip
    for part in (MistralForCausalLM(config), tokenizer):
        part.save_pretrained(tmp_path / "sliding")
    settings = make_settings(base=str(tmp_path / "sliding"), topic_dropout=0.3)
    decoder = fit_decoder(records, records[:6], None, topics, settings, tmp_path / "fit")
    assert "outputs of this base cannot be guided" in caplog.text
    assert not decoder.unguided
    with pytest.raises(UserError, match="on a base without sliding windows"):
        decoder.check_options(GenerationSettings(guidance=2), fairness=False)
    assert len(decoder.generate(["Ada"], ["oil"], GenerationSettings(4))) == 1


def test_guided_samples_are_seeded_row_by_row(shared_base, make_decoder):
    decoder = make_decoder(shared_base)
    decoder.unguided = True
    texts, topics = ["Today Ada spoke of prices.", "Bob " * 20, "Cy", "Dee " * 9], ["oil", "wheat", "oil", "wheat"]
    options = GenerationSettings(12, sample=True, temperature=1.5, guidance=2.0, seed=3)
    together = decoder.generate(texts, topics, options)
    assert together == [
        decoder.generate([text], [topic], options)[0] for text, topic in zip(texts, topics, strict=True)
    ]
    assert together != decoder.generate(texts, topics, replace(options, seed=4))
    assert together != decoder.generate(texts, topics, replace(options, guidance=1.0))
    assert together != decoder.generate(texts, topics, replace(options, sample=False))


def test_what_was_learnt_without_a_topic_is_kept(base, make_settings, topics, records, tmp_path):
    from unskew.decoder import TopicDecoder

    decoder = fit_decoder(
        records, records[:6], None, topics, make_settings(base=base, topic_dropout=0.3), tmp_path / "a"
    )
    decoder.save_pretrained(tmp_path / "saved")
    loaded = TopicDecoder.from_pretrained(tmp_path / "saved", device="cpu")
    options = GenerationSettings(8, guidance=3)
    assert loaded.unguided
    assert loaded.generate(["Ada", "Bob"], ["oil"] * 2, options) == decoder.generate(
        ["Ada", "Bob"], ["oil"] * 2, options
    )
