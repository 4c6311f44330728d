import shutil
from dataclasses import replace
from functools import partial
from typing import get_args

import pytest
import torch

from unskew.balance import LossSettings
from unskew.balance.settings import LossName
from unskew.common import UserError
from unskew.corpus import Record, Topics
from unskew.decoder import GenerationSettings, TopicDecoder, fit_decoder, fitting, topic_prior_from_loss
from unskew.training import PhaseSettings, ScratchSettings

SHORT = GenerationSettings(max_new_tokens=8)


def fit(settings, topics, records, folder, noisy=None, seed=0):
    return fit_decoder(records, records[:6], noisy, topics, settings, folder, seed)


def folders(path):
    return sorted(entry.name for entry in path.iterdir())


def weights(decoder):
    return dict(decoder.model.state_dict())


@pytest.mark.parametrize("adaptation", ["lora", "top_blocks", "full"])
@pytest.mark.parametrize("pretrained", [True, False])
def test_every_adaptation_fits_saves_and_moves(
    adaptation, pretrained, base, make_settings, topics, records, make_records, tmp_path
):
    settings = make_settings(adaptation=adaptation, base=base if pretrained else None)
    decoder = fit(settings, topics, records, tmp_path / "fit", noisy=make_records(9, start=50))
    assert 0 < decoder.facts.share <= 1
    texts, names = [r.text for r in records[:5]], [r.topic for r in records[:5]]
    outputs = decoder.generate(texts, names, SHORT)
    decoder.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "base").exists() == (adaptation == "lora" and not pretrained)
    assert (tmp_path / "saved" / "adapter_config.json").exists() == (adaptation == "lora")
    shutil.move(tmp_path / "saved", tmp_path / "moved")
    shutil.rmtree(tmp_path / "fit")
    for merge in (True, False):
        loaded = TopicDecoder.from_pretrained(tmp_path / "moved", device="cpu", merge=merge)
        assert loaded.generate(texts, names, SHORT) == outputs
        assert loaded.facts == decoder.facts


def test_a_small_decoder_learns_to_obey_the_topic_and_copy_the_name(make_settings, topics, make_records, tmp_path):
    settings = make_settings(
        scratch=ScratchSettings(layers=1, width=32, heads=2, vocabulary=400),
        noisy=PhaseSettings(epochs=8, learning_rate=1e-2, patience=8),
        clean=PhaseSettings(epochs=4, learning_rate=1e-2, patience=4),
        tokens_per_batch=512,
    )
    decoder = fit(settings, topics, make_records(60), tmp_path, noisy=make_records(120, start=100))
    unseen = make_records(8, start=300)
    for topic in ("oil", "wheat"):
        outputs = decoder.generate([record.text for record in unseen], [topic] * 8)
        named = [record.text.split()[1] for record in unseen]
        assert outputs == [f"{topic} news: {name}" for name in named]


def test_fitting_is_deterministic_and_finished_phases_are_not_run_again(
    base, make_settings, topics, records, tmp_path, monkeypatch
):
    settings = make_settings(base=base, dropout=0.1)
    first = weights(fit(settings, topics, records, tmp_path / "a", noisy=records))
    second = weights(fit(settings, topics, records, tmp_path / "b", noisy=records))
    assert all(torch.equal(first[name], second[name]) for name in first)
    ran = []
    monkeypatch.setattr("lightning.Trainer.fit", lambda *_, **__: ran.append(1))
    third = weights(fit(settings, topics, records, tmp_path / "a", noisy=records))
    assert not ran
    assert all(torch.equal(first[name], third[name]) for name in first)


def test_an_interrupted_fit_goes_on_where_it_was(base, make_settings, topics, records, tmp_path, monkeypatch):
    settings = make_settings(clean=PhaseSettings(epochs=3, learning_rate=1e-2))
    whole = weights(fit(settings, topics, records, tmp_path / "whole"))
    step = fitting.DecoderModule.training_step

    def failing(self, batch, index):
        if self.trainer.current_epoch == 1 and "clean" in str(self.trainer.default_root_dir):
            raise RuntimeError("power cut")
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(fitting.DecoderModule, "training_step", failing)
        with pytest.raises(RuntimeError, match="power cut"):
            fit(settings, topics, records, tmp_path / "cut")
    resumed = weights(fit(settings, topics, records, tmp_path / "cut"))
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value)


def test_the_baseline_learns_the_topic(make_settings, topics, make_records, tmp_path):
    records = [replace(record, text=f"{record.topic} {record.text}") for record in make_records(60)]
    phase = PhaseSettings(epochs=10, learning_rate=1e-2, patience=10)
    settings = make_settings(topic_loss=LossSettings(), clean=phase, adaptation="full", tokens_per_batch=512)
    decoder = fit(settings, topics, records, tmp_path)
    chosen = decoder.topic_logits([record.text for record in records]).argmax(dim=1)
    assert [topics.names[i] for i in chosen] == [record.topic for record in records]


def test_the_baseline_can_learn_topics_from_the_noisy_set(make_settings, topics, make_records, tmp_path):
    noisy = [replace(record, text=f"{record.topic} {record.text}") for record in make_records(60)]
    noisy += [replace(record, topic="gold") for record in noisy[:4]]  # not a topic of the clean set
    settings = make_settings(
        topic_loss=LossSettings(),
        noisy_topic_loss=LossSettings(weights="none"),
        noisy=PhaseSettings(epochs=10, learning_rate=1e-2, patience=10),
        clean=PhaseSettings(epochs=1, learning_rate=1e-9),
        tokens_per_batch=512,
    )
    for loss, learnt in ((settings.noisy_topic_loss, True), (None, False)):
        decoder = fit(replace(settings, noisy_topic_loss=loss), topics, noisy[:24], tmp_path, noisy)
        chosen = decoder.topic_logits([record.text for record in noisy[:60]]).argmax(dim=1)
        assert ([topics.names[i] for i in chosen] == [record.topic for record in noisy[:60]]) is learnt


@pytest.mark.parametrize("name", get_args(LossName))
def test_every_topic_loss_trains(name, make_settings, topics, records, tmp_path):
    phase = PhaseSettings(epochs=2, learning_rate=1e-2)
    decoder = fit(make_settings(topic_loss=LossSettings(name), clean=phase), topics, records, tmp_path)
    assert decoder.topic_logits([record.text for record in records]).isfinite().all()


def test_topics_given_as_text_are_obeyed_and_kept(make_settings, topics, make_records, tmp_path):
    settings = make_settings(
        condition="text",
        scratch=ScratchSettings(layers=1, width=32, heads=2, vocabulary=400),
        noisy=PhaseSettings(epochs=6, learning_rate=1e-2, patience=8),
        tokens_per_batch=512,
    )
    decoder = fit(settings, topics, make_records(60), tmp_path / "fit", noisy=make_records(120, start=100))
    texts = [record.text for record in make_records(8, start=300)]
    outputs = {topic: decoder.generate(texts, [topic] * 8) for topic in topics.names}
    assert all(output.startswith(f"{topic} news") for topic, own in outputs.items() for output in own)
    decoder.save_pretrained(tmp_path / "saved")
    loaded = TopicDecoder.from_pretrained(tmp_path / "saved", device="cpu")
    assert loaded.condition == "text"
    assert loaded.generate(texts, ["oil"] * 8) == outputs["oil"]


def skewed(topic_of=lambda i: "oil" if i % 8 else "wheat", n=64):
    """Texts that say nothing of their topic: all that can be learnt is how frequent it is."""
    return [Record(f"number {i}", str(i), topic_of(i), "news") for i in range(n)]


def test_the_fairness_token_asks_for_the_balanced_prior(make_settings, tmp_path):
    records = skewed()
    topics = Topics.from_labels(str(record.topic) for record in records)
    settings = make_settings(
        topic_loss=LossSettings(weights="none"),
        fairness=True,
        sampling_ratio=1.0,
        adaptation="full",
        clean=PhaseSettings(epochs=12, learning_rate=2e-2, patience=12),
        tokens_per_batch=128,
    )
    decoder = fit_decoder(records, records, None, topics, settings, tmp_path)
    texts = [record.text for record in records]
    share = {fair: decoder.topic_logits(texts, fairness=fair).softmax(dim=1)[:, 1].mean() for fair in (False, True)}
    model_prior = {fair: topic_prior_from_loss(settings, records, topics, fair)[1] for fair in (False, True)}
    assert model_prior[False] == pytest.approx(1 / 8, abs=0.01)
    assert model_prior[True] == pytest.approx(1 / 2, abs=0.02)
    assert share[False] == pytest.approx(model_prior[False], abs=0.08)
    assert share[True] == pytest.approx(model_prior[True], abs=0.15)
    assert decoder.generate_topics(texts) == ["oil"] * len(texts)
    decoder.save_pretrained(tmp_path / "saved")
    loaded = TopicDecoder.from_pretrained(tmp_path / "saved", device="cpu")
    torch.testing.assert_close(loaded.topic_logits(texts, fairness=True), decoder.topic_logits(texts, fairness=True))


def test_a_decoder_trained_without_the_fairness_token_refuses_it(make_settings, records, topics, tmp_path):
    fit_decoder(records, records, None, topics, make_settings(), tmp_path / "fit").save_pretrained(tmp_path / "saved")
    decoder = TopicDecoder.from_pretrained(tmp_path / "saved", device="cpu")
    for use in (decoder.topic_logits, decoder.generate_topics, partial(decoder.generate, topics=["oil"])):
        with pytest.raises(UserError, match="fit with --decoder.fairness true"):
            use(["Cy"], fairness=True)


def test_tempered_rows_are_what_is_trained_on(make_settings, tmp_path, monkeypatch):
    records = skewed()
    topics = Topics.from_labels(str(record.topic) for record in records)
    seen = []
    step = fitting.DecoderModule.training_step

    def spy(self, batch, index):
        seen.extend(batch["topic"].tolist())
        return step(self, batch, index)

    monkeypatch.setattr(fitting.DecoderModule, "training_step", spy)
    fit_decoder(records, records[:8], None, topics, make_settings(sampling_ratio=2.0), tmp_path)
    clean = seen[len(records) :]
    assert clean.count(0) <= 2 * clean.count(1)
    assert clean.count(0) + clean.count(1) == pytest.approx(len(records), abs=2)


def test_what_begins_to_act_later_shares_the_phases_before(make_settings, base, topics, records, tmp_path):
    def phases(changes, folder, start=None):
        fit(make_settings(base=start, **changes), topics, records, tmp_path / folder, noisy=records[:9])

    for changes in (
        {},
        {"adaptation": "full"},
        {"rank": 3},
        {"topic_loss": LossSettings()},
        {"sampling_ratio": 2.0},
        {"fairness": True},
    ):
        phases(changes, "scratch")
    assert [name.split("-")[0] for name in folders(tmp_path / "scratch")] == ["base"] + 6 * ["clean"]
    phases({"condition": "text"}, "scratch")
    assert len(list((tmp_path / "scratch").glob("base-*"))) == 2
    # A topic loss goes without swapped texts, so with a noisy phase of its own.
    for changes in ({}, {"topic_loss": LossSettings()}, {"fairness": True}, {"rank": 3}):
        phases(changes, "pretrained", base)
    assert [name.split("-")[0] for name in folders(tmp_path / "pretrained")] == 4 * ["clean"] + 3 * ["noisy"]


def test_checkpoints_of_an_adapter_do_not_hold_the_base(base, make_settings, topics, records, tmp_path):
    fit(make_settings(base=base), topics, records, tmp_path)
    for file in tmp_path.glob("clean-*/checkpoints/*.ckpt"):
        state = torch.load(file, weights_only=True)["state_dict"]
        assert not any(value.shape[:1] > (300,) for value in state.values())


def test_weights_train_in_bfloat16(base, make_settings, topics, records, tmp_path):
    trainer = {"accelerator": "cpu", "devices": 1, "precision": "bf16-true"}
    decoder = fit_decoder(records, records[:4], None, topics, make_settings(base=base, trainer=trainer), tmp_path)
    assert next(decoder.model.parameters()).dtype == torch.bfloat16


def test_rows_without_a_target_are_left_out(make_settings, topics, records, tmp_path, caplog):
    empty = [replace(record, target=target) for record, target in zip(records, [None, " ", *["x"] * 22], strict=True)]
    fit(make_settings(), topics, empty, tmp_path)
    assert "2 rows of the training set have no target" in caplog.text
    with pytest.raises(UserError, match="training set has a target"):
        fit(make_settings(), topics, empty[:2], tmp_path)


def test_sets_without_targets_are_done_without(make_settings, topics, records, tmp_path, caplog):
    bare = [replace(record, target=None) for record in records]
    fit_decoder(records, bare, bare, topics, make_settings(), tmp_path)
    assert "noisy set has a target, so it is left out" in caplog.text
    assert "training rows decide when to stop" in caplog.text
    before = folders(tmp_path)
    fit_decoder(records, [], None, topics, make_settings(), tmp_path)
    assert folders(tmp_path) == before


def test_the_base_from_scratch_depends_on_all_its_tokenizer_saw(make_settings, topics, records, make_records, tmp_path):
    noisy = make_records(9, start=50)
    fit_decoder(records, records[:6], noisy, topics, make_settings(), tmp_path)
    other = [replace(record, text=f"quite another {record.text}") for record in records]
    fit_decoder(other, records[:6], noisy, topics, make_settings(), tmp_path)
    assert [name.split("-")[0] for name in folders(tmp_path)] == ["base", "base", "clean", "clean"]


def test_only_the_first_process_writes_the_base(make_settings, topics, records, tmp_path, monkeypatch):
    fit(make_settings(), topics, records, tmp_path)
    (model,) = tmp_path.glob("base-*/model")
    shutil.rmtree(model)
    monkeypatch.setattr(fitting.rank_zero_only, "rank", 1)
    fit(make_settings(), topics, records, tmp_path)
    assert not model.exists()


def test_texts_too_long_for_the_base_are_refused_at_once(base, make_settings, topics, records, tmp_path):
    with pytest.raises(UserError, match="303 positions, but the base"):
        fit(make_settings(base=base, max_tokens=284), topics, records, tmp_path)


def test_a_base_that_is_none(make_settings, topics, records, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="cannot load the language model"):
        fit(make_settings(base=str(tmp_path / "empty")), topics, records, tmp_path)
