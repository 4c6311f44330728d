"""Fitting a system: skipped where nothing changed, refused where an input is wrong, resumed where it was cut."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from unskew.balance import LossSettings, adapt_target, topic_metrics
from unskew.common import UserError, write_jsonl
from unskew.corpus import Columns, Record, Topics
from unskew.decoder import DecoderSettings, Obedience
from unskew.encoder import EncoderSettings, TopicEncoder, topic_prior_from_loss
from unskew.pipeline import DataSettings, FitSettings, HybridPipeline, TrainingData, fit, fitting, read_sets


def data(path, **more):
    return FitSettings(data=DataSettings(train=str(path), **more))


def test_bundle_records_what_was_done(fitted):
    pipeline, bundle = fitted
    loaded = HybridPipeline.from_pretrained(bundle, device="cpu")
    assert loaded.description["settings"]["encoder"]["max_tokens"] == 64
    assert loaded.description["settings"]["data"]["train"] == "train.jsonl"  # no path of this machine
    assert loaded.description["decoder_facts"]["trainable_share"] < 1
    assert loaded.metrics["validation"]["accuracy"] == pipeline.metrics["validation"]["accuracy"]
    assert loaded.topics.counts == (60, 24, 8)


def test_the_models_prior_can_be_measured(tiny, tmp_path, monkeypatch):
    settings = dataclasses.replace(tiny, decoder=None, model_prior="mean_posterior", calibration="none")
    found = []
    original = fitting.prior_from_predictions

    def kept(probabilities, targets, model_prior):
        found.append((original(probabilities, targets, model_prior), model_prior))
        return found[-1][0]

    monkeypatch.setattr(fitting, "prior_from_predictions", kept)
    pipeline = fit(settings, tmp_path / "bundle")
    ((measured, model_prior),) = found
    assert pipeline.corrector.model_prior == tuple(measured.tolist())
    sets = read_sets(settings.data, settings.seed)
    assert topic_prior_from_loss(settings.encoder, sets.train, sets.topics) == tuple(model_prior.tolist())
    assert (
        HybridPipeline.from_pretrained(tmp_path / "bundle", device="cpu").corrector.model_prior
        == pipeline.corrector.model_prior
    )


def test_the_decoder_meets_the_noisy_rows_under_the_encoders_topics(tiny, tmp_path, monkeypatch):
    rows = [json.loads(line) for line in Path(str(tiny.data.noisy)).read_text().splitlines()]
    names = sorted({row["topic"] for row in rows})
    for row in rows[::5]:
        row["topic"] = names[(names.index(row["topic"]) + 1) % len(names)]
    write_jsonl(tmp_path / "noisy.jsonl", rows)
    tiny = dataclasses.replace(tiny, data=dataclasses.replace(tiny.data, noisy=str(tmp_path / "noisy.jsonl")))
    seen = []
    monkeypatch.setattr(fitting, "fit_decoder", lambda *given: seen.append(given[2]) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(tiny, tmp_path / "bundle")
    topics = [record.topic for record in seen[0]]
    alone = fit(dataclasses.replace(tiny, decoder=None), tmp_path / "alone").with_target_prior("train")
    assert topics == [result.topic for result in alone([row["text"] for row in rows])]
    assert topics != [row["topic"] for row in rows]


@pytest.mark.parametrize(
    ("recipe", "validation", "expected"),
    [
        ("phases", None, "bias_corrected_temperature"),
        ("tuned", None, "none"),
        ("probe", None, "none"),
        ("tuned", "dev.jsonl", "bias_corrected_temperature"),
        ("probe", "dev.jsonl", "bias_corrected_temperature"),
    ],
)
def test_rows_given_apart_are_calibrated_on_by_default(recipe, validation, expected):
    settings = dataclasses.replace(data("x", validation=validation), encoder=EncoderSettings("some/base", recipe))
    assert settings.resolved().calibration == expected
    assert dataclasses.replace(settings, calibration="temperature").resolved().calibration == "temperature"


def test_fits_store_noisy_rows_where_they_are_told(tiny, tmp_path, monkeypatch):
    found = []

    def stopped(*_, cache, **__):
        found.append(cache)
        raise UserError("far enough")

    monkeypatch.setattr(fitting, "read_sets", stopped)
    for rows in (None, tmp_path / "shared"):
        with pytest.raises(UserError, match="far enough"):
            fit(tiny, tmp_path / "bundle", rows=rows)
    assert found == [tmp_path / "bundle.work" / "rows", tmp_path / "shared"]


def test_what_is_said_of_the_rows_is_true_of_both_stages(tiny):
    sets = read_sets(tiny.data, 0)
    held_out, noisy = len(sets.validation), len(sets.noisy)
    said = f"3 topics; {92 - held_out} rows to train on, {held_out} held out, {noisy} noisy ones"
    assert fitting._said_of_rows(sets, tiny) == said
    tuned = dataclasses.replace(tiny, encoder=EncoderSettings("some/base"))
    said += "; the encoder (recipe tuned) is fitted on all 92 rows and holds out its own"
    assert fitting._said_of_rows(sets, tuned) == said
    alone = dataclasses.replace(tuned, decoder=None)
    only = f"3 topics; the encoder (recipe tuned) is fitted on all 92 rows and holds out its own; {noisy} noisy rows"
    assert fitting._said_of_rows(sets, alone) == only
    apart = dataclasses.replace(sets, is_split=False)  # rows of another file are not trained on
    assert "fitted on all" not in fitting._said_of_rows(apart, tuned)


def test_it_ends_by_saying_what_each_target_prior_would_mean(tiny, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="unskew")
    with monkeypatch.context() as patched:
        patched.setattr("unskew.balance.target_estimate.bootstrap_errors", lambda *_: pytest.fail("takes too long"))
        pipeline = fit(dataclasses.replace(tiny, decoder=None), tmp_path / "bundle")
    corrector, known = pipeline.corrector, pipeline.corrector.rows
    adapted = corrector.with_target_prior(adapt_target(corrector, known.logits).shares)
    expected = topic_metrics(adapted(known.logits), known.labels, pipeline.topics.counts)
    views = pipeline.metrics["validation_by_target_prior"]
    assert list(views) == ["adaptive", "uniform", "train"]
    assert views["adaptive"] == pytest.approx(expected, abs=1e-4)  # rows are kept rounded
    figures = f"accuracy {expected['accuracy']:.3f}, balanced accuracy {expected['balanced_accuracy']:.3f}"
    assert f"held-out rows: target_prior adaptive: {figures}" in caplog.text
    assert "; target_prior uniform: accuracy" in caplog.text
    assert "; target_prior train: accuracy" in caplog.text


def test_a_fit_that_is_refused_leaves_no_empty_folder(tiny, tmp_path):
    refused = (
        dataclasses.replace(tiny, data=dataclasses.replace(tiny.data, columns=Columns(text="body"))),
        dataclasses.replace(tiny, data=DataSettings(tiny.data.train), decoder=DecoderSettings(str(tmp_path / "none"))),
        dataclasses.replace(tiny, data=DataSettings(tiny.data.train), encoder=EncoderSettings(str(tmp_path / "none"))),
    )
    for settings in refused:
        with pytest.raises(UserError):
            fit(settings, tmp_path / "bundle")
        assert list(tmp_path.iterdir()) == []
    (tmp_path / "bundle.work" / "encoder").mkdir(parents=True)
    (tmp_path / "bundle.work" / "encoder" / "stored").touch()
    with pytest.raises(UserError):
        fit(refused[0], tmp_path / "bundle")
    assert (tmp_path / "bundle.work" / "encoder" / "stored").exists()


@pytest.mark.parametrize("asked", ["none", "temperature"])
def test_a_calibration_is_spoken_of_only_if_one_was_asked_for(fitted, tiny, caplog, asked):
    caplog.set_level("INFO", logger="unskew")
    corrector, sets = fitted[0].corrector, read_sets(tiny.data, 0)
    held_out = SimpleNamespace(logits=corrector.rows.logits.float(), labels=corrector.rows.labels.long())
    known = SimpleNamespace(model_prior=corrector.model_prior, link=corrector.link, held_out=held_out, notes=())
    fitting._decide(known, sets, dataclasses.replace(tiny, calibration=asked), corrector.target)
    assert ("calibration: temperature" in caplog.text) == (asked != "none")
    assert ("calibration:" in caplog.text) == (asked != "none")


def test_unchanged_stages_are_not_fitted_again(tiny, tmp_path, monkeypatch):
    settings = dataclasses.replace(tiny, decoder=None)
    first = fit(settings, tmp_path / "bundle")
    trained = []
    monkeypatch.setattr("lightning.Trainer.fit", lambda *_, **__: trained.append(1))
    again = fit(settings, tmp_path / "bundle", overwrite=True)
    assert trained == []
    assert again.metrics == first.metrics


def test_interrupted_fit_ends_as_an_uninterrupted_one(tiny, tmp_path, monkeypatch, texts):
    settings = dataclasses.replace(tiny, decoder=None)
    whole = fit(settings, tmp_path / "whole")
    original = TopicEncoder.logits

    def cut(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(TopicEncoder, "logits", cut)
    with pytest.raises(KeyboardInterrupt):
        fit(settings, tmp_path / "cut")
    assert not (tmp_path / "cut").exists()
    monkeypatch.setattr(TopicEncoder, "logits", original)
    resumed = fit(settings, tmp_path / "cut")
    assert resumed.probabilities(texts).equal(whole.probabilities(texts))


def test_existing_bundle_is_refused_before_any_work(tmp_path):
    (tmp_path / "bundle").mkdir()
    with pytest.raises(UserError, match="overwrite"):
        fit(data(tmp_path / "no.jsonl"), tmp_path / "bundle")


def test_a_name_that_the_bundle_could_not_hold_is_refused_before_any_work(tmp_path):
    with pytest.raises(UserError, match=r"data.train is 'Stra\\udcdfe.jsonl', which is not UTF-8"):
        fit(data("Stra\udcdfe.jsonl"), tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_other_things_is_never_replaced(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="other contents"):
        fit(data(tmp_path / "no.jsonl"), tmp_path / "precious", overwrite=True)
    assert (tmp_path / "precious" / "thesis.txt").exists()


def test_unwritable_place_is_said_at_once(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        fit(tiny, tmp_path / "file" / "bundle")


def test_target_prior_of_an_unknown_topic_is_said_before_training(tiny, tmp_path):
    settings = dataclasses.replace(tiny, target_prior={"weather": 1.0})
    with pytest.raises(UserError, match="weather"):
        fit(settings, tmp_path / "bundle")


@pytest.mark.parametrize(("wrong", "warned"), [(0.2, True), (0.9, False)])
def test_a_decoder_that_ignores_its_topic_is_said_so(monkeypatch, caplog, wrong, warned):
    records = [Record(id=str(i), text=f"text {i}", topic=topic, target=topic) for i, topic in enumerate("abab")]
    sets = TrainingData(records, records, None, Topics.from_labels("abab"))
    measured = Obedience(rows=4, right=0.95, wrong=wrong, targets=1.0, ignoring=0.1, gap=0.3)
    monkeypatch.setattr(fitting, "measure_obedience", lambda *_: measured)
    caplog.set_level("INFO", logger="unskew")
    assert fitting._obedience(None, sets, DecoderSettings())["obedience"]["wrong"] == wrong
    assert f"a wrong one in {wrong:.0%}" in caplog.text
    assert ("hardly follows its topic" in caplog.text) == warned


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"base": "any"}, "longer, on more rows, with text_swap 1 or with condition both, which names the topic"),
        ({"base": "any", "condition": "both"}, "longer, on more rows or with text_swap 1"),
        ({"base": "any", "condition": "text", "text_swap": 1.0}, "longer or on more rows"),
        ({"topic_loss": LossSettings()}, "longer or on more rows"),  # neither can be had with a topic_loss
    ],
)
def test_what_is_left_to_try_is_recommended(monkeypatch, caplog, changes, advice):
    records = [Record(id=str(i), text=f"text {i}", topic=topic, target=topic) for i, topic in enumerate("abab")]
    sets = TrainingData(records, records, None, Topics.from_labels("abab"))
    deaf = Obedience(rows=4, right=0.95, wrong=0.2, targets=1.0, ignoring=0.1, gap=0.3)
    monkeypatch.setattr(fitting, "measure_obedience", lambda *_: deaf)
    fitting._obedience(None, sets, DecoderSettings(**changes))
    assert caplog.messages[-1] == f"the decoder hardly follows its topic; train it {advice}"


def test_obedience_that_is_not_measured_says_why(caplog):
    records = [Record(id=str(i), text=f"text {i}", topic=topic, target=topic) for i, topic in enumerate("abab")]
    silent = [dataclasses.replace(record, target=None) for record in records]
    caplog.set_level("INFO", logger="unskew")
    for train, validation in ((records, silent), (records[::2], records)):
        sets = TrainingData(train, validation, None, Topics.from_labels("abab"))
        assert fitting._obedience(None, sets, DecoderSettings()) == {}
    unmeasured = "decoder: whether outputs follow their topic was not measured, because "
    assert caplog.messages == [
        f"{unmeasured}no held-out row of these topics has a target",
        f"{unmeasured}all targets have one topic",
    ]


def test_topics_that_no_target_tells_apart_are_said_so(monkeypatch, caplog):
    records = [Record(id=str(i), text=f"text {i}", topic=topic, target="same") for i, topic in enumerate("abab")]
    sets = TrainingData(records, records, None, Topics.from_labels("abab"))
    alike = Obedience(rows=4, right=0.5, wrong=0.5, targets=0.5, ignoring=0.5, gap=0.0)
    monkeypatch.setattr(fitting, "measure_obedience", lambda *_: alike)
    fitting._obedience(None, sets, DecoderSettings())
    assert "does not tell whether it listens" in caplog.text
    assert "hardly follows" not in caplog.text
