"""The default on a pretrained base: a probe, tuned where that pays, on every clean row."""

import dataclasses
from random import Random

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from unskew.common import UserError
from unskew.corpus import Record, Topics
from unskew.encoder import EncoderSettings, TopicEncoder, fit_topic_encoder, probed_base, recipe
from unskew.encoder.choice import choose
from unskew.encoder.probed_base import ProbedBase
from unskew.encoder.topic_texts import name_as_text
from unskew.runtime import train_tokenizer

CPU = {"accelerator": "cpu", "devices": 1}


@pytest.fixture(scope="module")
def chosen(base):
    return EncoderSettings(base, max_tokens=32, trainer=CPU)


@pytest.fixture(scope="module")
def tuned(train, topics, chosen, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    return fit_topic_encoder(train, [], None, topics, chosen, folder, 0), folder


def same_weights(one, other):
    mine, theirs = one.encoder.model.state_dict(), other.encoder.model.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in mine.items())


@pytest.mark.parametrize("name", ["probe", "tuned"])
def test_every_row_is_trained_on_and_answered_by_models_that_did_not_see_it(
    name, train, validation, topics, chosen, tmp_path
):
    fitted = fit_topic_encoder(train, [], None, topics, dataclasses.replace(chosen, recipe=name), tmp_path, 0)
    assert fitted.model_prior == pytest.approx([1 / 3] * 3)
    assert len(fitted.held_out.labels) == len(train)
    right = fitted.encoder.logits([record.text for record in validation]).argmax(-1).tolist()
    truth = topics.encode(record.topic for record in validation)
    assert sum(a == b for a, b in zip(right, truth, strict=True)) >= 0.8 * len(truth)


@pytest.mark.parametrize("name", ["probe", "tuned"])
def test_nothing_is_measured_on_synthetic_rows(name, train, topics, chosen, tmp_path, monkeypatch):
    compared = []

    def noting(*given):
        compared.append(given)
        return choose(*given)

    monkeypatch.setattr(recipe, "choose", noting)
    settings = dataclasses.replace(chosen, recipe=name)
    made = [dataclasses.replace(record, id=f"s-{record.id}", text=f"{record.text} too") for record in train[:9]]
    rows = [*train[:20], *(dataclasses.replace(record, synthetic=True) for record in made), *train[20:]]
    fitted = fit_topic_encoder(rows, [], None, topics, settings, tmp_path, 0)
    assert [len(given[0]) for given in compared] == [len(train)] * (name == "tuned")
    assert fitted.held_out.labels.tolist() == topics.encode(record.topic for record in train)
    assert len(fitted.held_out.logits) == len(train)


def test_rows_count_their_weight(train, topics, chosen, tmp_path):
    probe = dataclasses.replace(chosen, recipe="probe")
    weighed = [dataclasses.replace(record, weight=5.0 if record.topic == "courts" else 1.0) for record in train]
    fitted = fit_topic_encoder(weighed, [], None, topics, probe, tmp_path, 0)
    assert fitted.held_out.weights.tolist() == [record.weight for record in weighed]
    heads = fit_topic_encoder(train, [], None, topics, probe, tmp_path, 0), fitted
    alike, heavy = (made.encoder.logits([record.text for record in train]).log_softmax(-1) for made in heads)
    own = torch.tensor(topics.encode(record.topic for record in train)) == topics.index("courts")
    assert heavy[own, topics.index("courts")].mean() > alike[own, topics.index("courts")].mean()


def test_the_result_is_a_plain_transformers_classifier(tuned, validation, tmp_path):
    encoder = tuned[0].encoder
    encoder.save_pretrained(tmp_path)
    texts = [record.text for record in validation]
    assert "UNEXPECTED" not in str(AutoModelForSequenceClassification.from_pretrained(tmp_path))
    read = TopicEncoder.from_pretrained(tmp_path)
    torch.testing.assert_close(read.logits(texts), encoder.logits(texts), atol=1e-4, rtol=1e-4)


def test_the_same_call_goes_on_from_what_was_trained(tuned, train, topics, chosen, monkeypatch):
    monkeypatch.setattr("lightning.Trainer.fit", lambda *_, **__: pytest.fail("trained again"))
    again = fit_topic_encoder(train, [], None, topics, chosen, tuned[1], 0)
    assert same_weights(again, tuned[0])


def test_equal_fits_are_equal(tuned, train, topics, chosen, tmp_path):
    assert same_weights(fit_topic_encoder(train, [], None, topics, chosen, tmp_path, 0), tuned[0])


def test_no_feature_is_computed_twice(train, topics, chosen, tmp_path, monkeypatch):
    passes, read = [], ProbedBase.rows
    monkeypatch.setattr(ProbedBase, "rows", lambda base: passes.append(len(base.clean)) or read(base))
    fit_topic_encoder(train, [], None, topics, chosen, tmp_path, 0)
    assert passes == [len(train)] * 4  # by the base, and by each of three tunings


def test_features_are_read_where_the_base_was_though_training_ends_on_the_cpu(
    train, topics, chosen, tmp_path, monkeypatch
):
    moves = []
    monkeypatch.setattr("unskew.encoder.tuning.run", lambda *_: moves.append("trained"))
    monkeypatch.setattr(PreTrainedModel, "to", lambda _, where: moves.append(where))
    fit_topic_encoder(train, [], None, topics, chosen, tmp_path, 0)
    assert moves == ["trained", torch.device("cpu")] * 2  # the probe is kept


def test_of_many_rows_a_part_is_held_out_of_the_only_tuning(train, validation, topics, chosen, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "FEW_TOKENS", 100)
    fitted = fit_topic_encoder(train, [], None, topics, chosen, tmp_path, 0)
    assert len(list(tmp_path.glob("tuned-*"))) == 1
    assert len(fitted.held_out.labels) == pytest.approx(len(train) / recipe.PARTS, abs=1)
    right = fitted.encoder.logits([record.text for record in validation]).argmax(-1).tolist()
    truth = topics.encode(record.topic for record in validation)
    assert sum(a == b for a, b in zip(right, truth, strict=True)) >= 0.8 * len(truth)


def test_the_part_held_out_of_the_only_tuning_is_never_left_out_of_the_head(
    train, topics, chosen, tmp_path, monkeypatch
):
    monkeypatch.setattr(recipe, "FEW_TOKENS", 100)
    monkeypatch.setattr(recipe, "choose", lambda probe, tuned, refit, *rest: choose(probe, tuned, 0 * refit, *rest))
    note = fit_topic_encoder(train, [], None, topics, chosen, tmp_path, 0).notes[1]
    assert note.endswith("the mean of the tuned head and a head refitted on its features")


def test_the_probe_stays_where_tuning_does_not_pay(train, topics, chosen, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "choose", lambda probe, tuned, refit, *rest: choose(probe, 0 * tuned, 0 * refit, *rest))
    kept = fit_topic_encoder(train, [], None, topics, chosen, tmp_path, 0)
    alone = fit_topic_encoder(train, [], None, topics, dataclasses.replace(chosen, recipe="probe"), tmp_path, 0)
    assert same_weights(kept, alone)
    assert "the probe is kept" in kept.notes[1]


def test_validation_rows_that_are_given_are_what_it_is_calibrated_on(train, validation, topics, chosen, tmp_path):
    probe = dataclasses.replace(chosen, recipe="probe")
    fitted = fit_topic_encoder(train, validation, None, topics, probe, tmp_path, 0)
    expected = fitted.encoder.logits([record.text for record in validation])
    torch.testing.assert_close(fitted.held_out.logits, expected)


def test_a_sample_of_noisy_rows_is_read_in_their_order(train, topics, chosen, tmp_path, monkeypatch):
    monkeypatch.setattr(probed_base, "MAX_NOISY_ROWS", 9)
    noisy = ProbedBase.make(train, train, topics, chosen.resolved(), tmp_path, 0).noisy
    assert list(noisy) == sorted(Random("noisy/0").sample(train, 9), key=train.index)


def test_a_noisy_set_of_pure_noise_is_left_out_and_said(train, topics, chosen, tmp_path):
    texts = [record.text for record in train]
    noisy = [Record(text, f"n{i}", topics.names[i % 3]) for i, text in enumerate(texts[::-1])]
    probe = dataclasses.replace(chosen, recipe="probe")
    fitted = fit_topic_encoder(train, [], noisy, topics, probe, tmp_path, 0)
    assert "noisy set does not help and is left out" in fitted.notes[0]
    assert same_weights(fitted, fit_topic_encoder(train, [], None, topics, probe, tmp_path, 0))


@pytest.mark.parametrize("name", ["probe", "tuned"])
@pytest.mark.parametrize(
    "odd",
    [
        [Record("crude oil once", "x", "lone")],
        [Record("crude oil", "x", "17"), Record("gas field", "y", "17")],
        [Record("oil", "x", "\u200b"), Record("gas", "y", "\u200b")],
        [Record("oil", "x", "name " * 1000), Record("gas", "y", "name " * 1000)],
        [Record("equal text", "x", "one"), Record("equal text", "y", "other")],
    ],
    ids=["one row", "a number", "no letters", "5000 characters", "identical texts"],
)
def test_odd_topics_are_fitted_all_the_same(odd, name, train, chosen, tmp_path):
    rows = [*train, *odd]
    topics = Topics.from_labels(record.topic for record in rows)
    settings = dataclasses.replace(chosen, recipe=name, **({"max_steps": 1} if name == "tuned" else {}))
    fitted = fit_topic_encoder(rows, [], None, topics, settings, tmp_path, 0)
    assert fitted.encoder.logits([record.text for record in rows]).isfinite().all()


def test_a_base_without_a_head_to_fit_is_refused(base, topics, train, tmp_path):
    folder = tmp_path / "llama"
    config = LlamaConfig(
        vocab_size=320, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    train_tokenizer([record.text for record in train], 320).save_pretrained(folder)
    with pytest.raises(UserError, match="recipe phases"):
        fit_topic_encoder(train, [], None, topics, EncoderSettings(str(folder), max_tokens=32, trainer=CPU), tmp_path)


def test_a_base_without_a_tokenizer_is_refused(topics, train, tmp_path):
    BertForMaskedLM(
        BertConfig(vocab_size=40, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    ).save_pretrained(tmp_path / "bert")
    with pytest.raises(UserError, match="cannot be loaded"):
        fit_topic_encoder(train, [], None, topics, EncoderSettings(str(tmp_path / "bert"), trainer=CPU), tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [("flight_time", "flight time"), ("BookRestaurant", "book restaurant"), ("alarm.set", "alarm set"), ("17", None),
     ("---", None), ("GDP", "GDP"), ("money-fx", "money fx")],
)  # fmt: skip
def test_names_as_texts(name, text):
    assert name_as_text(name) == text
