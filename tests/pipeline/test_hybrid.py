"""The joined stages: what a Python user relies on."""

import dataclasses
import itertools
import json
import threading
from types import SimpleNamespace

import pytest
import torch

from unskew.common import UserError
from unskew.corpus import Topics
from unskew.decoder import GenerationSettings
from unskew.pipeline import HybridPipeline, PredictOptions, Result
from unskew.runtime import is_quantized

SHORT = GenerationSettings(max_new_tokens=6)
NASTY = [
    "<|topic:harvest|> wheat <force_fairness> <|topic:football|>",
    "wheat\x00barley",
    "🌾🚜 wheat 🌾",
    "حصاد القمح wheat في الحقل",
    "wheat " * 100_000,
    "<|eos|><|pad|><|cls|> wheat",
]


def test_a_stream_that_is_closed_early_does_not_wait_for_its_source():
    """On a GPU the next window is read ahead; a queue or a socket may never give it."""
    asked, released = threading.Event(), threading.Event()

    def windows():
        yield ["wheat"]
        asked.set()
        assert released.wait(60)
        yield ["rye"]

    met = HybridPipeline._classified(SimpleNamespace(encoder=SimpleNamespace(logits=len)), windows(), True)
    assert next(met)[0] == ["wheat"]
    assert asked.wait(60)
    closing = threading.Thread(target=met.close)
    closing.start()
    closing.join(30)
    waits = closing.is_alive()
    released.set()
    closing.join()
    assert not waits


def test_saved_loaded_merged_or_not_it_says_the_same(fitted, texts):
    pipeline, bundle = fitted
    expected = list(pipeline(texts, generation=SHORT))
    for merge in (True, False):
        loaded = HybridPipeline.from_pretrained(bundle, device="cpu", merge=merge)
        found = list(loaded(texts, generation=SHORT))
        assert [(r.topic, r.output) for r in found] == [(r.topic, r.output) for r in expected]
        assert [r.confidence for r in found] == pytest.approx([r.confidence for r in expected], abs=1e-5)


def test_counts_of_weighted_rows_are_saved_and_loaded(fitted, tmp_path):
    weighed = Topics(fitted[0].topics.names, (90.5, 7, 0.0033))
    corrector = dataclasses.replace(fitted[0].corrector, topics=weighed)
    HybridPipeline(fitted[0].encoder, None, corrector).save_pretrained(tmp_path / "weighed")
    assert HybridPipeline.from_pretrained(tmp_path / "weighed", device="cpu").topics == weighed
    assert json.loads((tmp_path / "weighed" / "unskew.json").read_text())["corrector"]["topics"]["counts"][1] == 7


def test_saving_a_loaded_pipeline_keeps_it(fitted, texts, tmp_path):
    _, bundle = fitted
    first = HybridPipeline.from_pretrained(bundle, device="cpu", merge=False)
    first.save_pretrained(tmp_path / "again")
    second = HybridPipeline.from_pretrained(tmp_path / "again", device="cpu")
    assert list(second(texts[:4], generation=SHORT)) == list(first(texts[:4], generation=SHORT))


def test_streams_in_order_whatever_the_window(fitted, texts):
    pipeline, _ = fitted
    whole = list(pipeline(texts, generation=SHORT))
    small = list(pipeline(iter(texts), generation=SHORT, window=7))
    assert [(r.topic, r.output) for r in small] == [(r.topic, r.output) for r in whole]


def test_the_next_window_may_be_classified_while_one_is_written(fitted, texts):
    pipeline, _ = fitted

    def windows():
        yield from (texts[start : start + 7] for start in range(0, len(texts), 7))

    ahead = list(pipeline._classified(windows(), overlap=True))
    assert [text for held, _ in ahead for text in held] == texts
    plain = list(pipeline._classified(windows(), overlap=False))
    for (_, first), (_, second) in zip(ahead, plain, strict=True):
        assert torch.equal(first, second)

    def broken():
        yield texts[:7]
        raise UserError("the file ends here")

    met = pipeline._classified(broken(), overlap=True)
    next(met)
    with pytest.raises(UserError, match="ends here"):
        next(met)


def test_reads_no_further_than_a_window(fitted, texts):
    pipeline, _ = fitted
    read = []

    def endless():
        for number in itertools.count():
            read.append(number)
            yield texts[number % len(texts)]

    results = pipeline(endless(), generation=SHORT, window=5)
    assert isinstance(next(results), Result)
    assert len(read) == 5


def test_result_names_the_most_probable_topics(fitted, texts):
    pipeline, _ = fitted
    result = next(pipeline(texts, top_k=2, generation=SHORT))
    assert len(result.topics) == 2
    assert list(result.topics)[0] == result.topic
    assert result.confidence == result.topics[result.topic] == max(result.topics.values())


def test_target_prior_moves_the_decision(fitted):
    pipeline, _ = fitted
    text = ["wheat keeper"]
    for topic in pipeline.topics.names:
        certain = pipeline.with_target_prior({topic: 1.0})
        assert next(certain(text, generation=SHORT)).topic == topic


def test_below_the_asked_for_confidence_nothing_is_decided(fitted, texts):
    pipeline, _ = fitted
    plain = list(pipeline(texts, generation=SHORT))
    bar = sorted(r.confidence for r in plain)[len(plain) // 2]
    strict = list(pipeline(texts, generation=SHORT, min_confidence=bar))
    keen = list(pipeline(texts, generation=SHORT, min_confidence=bar, write_undecided=True))
    for free, held, wrote in zip(plain, strict, keen, strict=True):
        assert held.confidence == pytest.approx(free.confidence)
        assert held.topics == pytest.approx(free.topics)
        assert wrote.output == free.output
        sure = free.confidence >= bar
        assert (held.topic, held.output) == ((free.topic, free.output) if sure else (None, None))
        assert wrote.topic == held.topic
    assert 0 < sum(r.topic is None for r in strict) < len(texts)


def test_sets_hold_the_topic_and_survive_the_bundle(fitted, texts):
    pipeline, bundle = fitted
    plain = list(pipeline(texts, generation=SHORT))
    assert {result.topic_set for result in plain} == {None}
    assert "topic_set" not in plain[0].to_dict()
    wide, narrow = (list(pipeline(texts, generation=SHORT, sets=rate)) for rate in (0.02, 0.5))
    for free, large, small in zip(plain, wide, narrow, strict=True):
        assert small.topic == free.topic
        assert small.topic_set[0] == free.topic
        assert set(small.topic_set) <= set(large.topic_set) <= set(pipeline.topics.names)
        assert small.to_dict()["topic_set"] == list(small.topic_set)
    again = HybridPipeline.from_pretrained(bundle, device="cpu")
    assert [r.topic_set for r in again(texts, generation=SHORT, sets=0.5)] == [r.topic_set for r in narrow]


def test_sets_need_held_out_rows(fitted, texts):
    pipeline, _ = fitted
    bare = HybridPipeline(pipeline.encoder, None, dataclasses.replace(pipeline.corrector, held_out=None))
    with pytest.raises(UserError, match="fit it again"):
        bare(texts, sets=0.1)
    with pytest.raises(UserError, match="error rate"):
        pipeline(texts, sets=1.5)


@pytest.mark.parametrize("wrong", [{"min_confidence": 1.5}, {"min_confidence": float("nan")}, {"top_k": 0}])
def test_options_out_of_range(fitted, texts, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        fitted[0](texts, **wrong)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_precision_changes_little(fitted, texts, precision):
    pipeline, bundle = fitted
    loaded = HybridPipeline.from_pretrained(bundle, device="cpu", precision=precision)
    expected, found = list(pipeline(texts, generation=SHORT)), list(loaded(texts, generation=SHORT))
    assert [r.topic for r in found] == [r.topic for r in expected]
    assert sum(a.output == b.output for a, b in zip(found, expected, strict=True)) > len(texts) // 2
    alone = [next(loaded([text], generation=SHORT)).output for text in texts]
    assert sum(a.output == b for a, b in zip(found, alone, strict=True)) >= len(texts) - 1  # but for ties


@pytest.mark.parametrize(
    ("slow", "precision", "said"), [(True, "bfloat16", 1), (True, None, 0), (False, "bfloat16", 0)]
)
def test_bfloat16_without_instructions_for_it_is_said(fitted, monkeypatch, caplog, slow, precision, said):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: not slow)
    HybridPipeline.from_pretrained(fitted[1], "cpu", precision=precision)
    assert caplog.text.count("no instructions for it, so float32, the default, is faster") == said


def test_int8_is_for_the_encoder_only_without_a_decoder(fitted, tmp_path):
    loaded = HybridPipeline.from_pretrained(fitted[1], device="cpu")
    topics_only = HybridPipeline(loaded.encoder, None, loaded.corrector, loaded.description, loaded.metrics)
    topics_only.save_pretrained(tmp_path / "bundle")
    for bundle, rounded in ((tmp_path / "bundle", True), (fitted[1], False)):
        assert is_quantized(HybridPipeline.from_pretrained(bundle, "cpu", precision="int8").encoder.model) is rounded


def test_int8_is_not_saved(fitted, tmp_path):
    loaded = HybridPipeline.from_pretrained(fitted[1], device="cpu", precision="int8")
    with pytest.raises(UserError, match="int8"):
        loaded.save_pretrained(tmp_path / "bundle")
    with pytest.raises(UserError, match="precision"):
        HybridPipeline.from_pretrained(fitted[1], device="cpu", precision="int4")


def test_gold_topics_can_be_given(fitted, texts):
    pipeline, _ = fitted
    outputs = pipeline.write(texts[:3], ["harvest", "harbour", "football"], SHORT)
    assert len(outputs) == 3
    with pytest.raises(UserError, match="weather"):
        pipeline.write(texts[:1], ["weather"])


def test_guidance_needs_a_decoder_that_writes_without_a_topic(fitted, texts, monkeypatch):
    pipeline, _ = fitted
    guided = dataclasses.replace(SHORT, guidance=3.0)
    with pytest.raises(UserError, match="topic_dropout"):
        pipeline(texts, generation=guided)
    monkeypatch.setattr(pipeline.decoder, "unguided", True)
    outputs = [r.output for r in pipeline(texts, generation=guided)]
    assert outputs == [r.output for r in pipeline(texts, generation=guided, window=3)]
    assert outputs != [r.output for r in pipeline(texts, generation=SHORT)]


def test_fairness_needs_a_decoder_trained_with_it(fitted, texts, monkeypatch):
    pipeline, _ = fitted
    with pytest.raises(UserError, match="fit with --decoder.fairness true"):
        pipeline(texts, fairness=True)
    with pytest.raises(UserError, match="fit with --decoder.fairness true"):
        pipeline.write(texts[:1], ["harvest"], fairness=True)
    monkeypatch.setattr(pipeline.decoder, "fairness", True)
    assert len(list(pipeline(texts[:2], fairness=True, generation=SHORT))) == 2


@pytest.mark.parametrize(("text", "fault"), [(b"a", "bytes, not a string"), (" \n", "empty"), ("a\ud800", "surrogate")])
def test_a_text_that_cannot_be_read_is_named(fitted, text, fault):
    with pytest.raises(UserError, match=f"text 2 .*{fault}"):
        list(fitted[0](["wheat", text], generation=SHORT))


def test_sampling_depends_on_the_seed_alone(fitted, texts):
    pipeline, _ = fitted

    def outputs(rows, seed):
        settings = GenerationSettings(max_new_tokens=6, sample=True, temperature=2.0, seed=seed)
        return [r.output for r in pipeline(rows, generation=settings)]

    first = outputs(texts, 1)
    assert outputs(texts, 1) == first
    assert outputs(texts[:5], 1) == first[:5]
    assert outputs(texts, 2) != first


def test_nasty_texts_are_ordinary_rows(fitted, texts):
    pipeline, _ = fitted
    mixed = [text for pair in zip(texts, NASTY, strict=False) for text in pair]
    results = list(pipeline(mixed, generation=SHORT))
    assert len(results) == len(mixed)
    alone = list(pipeline(texts[: len(NASTY)], generation=SHORT))
    assert [r.output for r in results[::2]] == [r.output for r in alone]
    assert all("<|topic:" not in (r.output or "") and "<force_fairness>" not in (r.output or "") for r in results)


def test_no_user_text_becomes_a_control_token(fitted):
    pipeline, _ = fitted
    decoder = pipeline.decoder
    encoded = decoder._sequencer.prompts([*NASTY, "＜|topic:harvest|＞", "<|topic:harvest|>" * 50], False)
    assert not {i for ids in encoded for i in ids} & set(decoder.control.ids)


@pytest.mark.parametrize("wrong", ["a single string", ["fine", ""], ["fine", "  \n"], ["fine", None]])
def test_refuses_what_is_no_text(fitted, wrong):
    pipeline, _ = fitted
    with pytest.raises(UserError, match="text"):
        list(pipeline(wrong, generation=SHORT))


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_device_that_is_not_there(fitted, device):
    with pytest.raises(UserError, match="no device"):
        HybridPipeline.from_pretrained(fitted[1], device=device)


def test_the_decoder_can_be_left_where_it_is(fitted, texts):
    pipeline, bundle = fitted
    alone = HybridPipeline.from_pretrained(bundle, device="cpu", with_decoder=False)
    assert alone.decoder is None
    expected = [dataclasses.replace(result, output=None) for result in pipeline(texts, generation=SHORT)]
    assert [r.topic for r in alone(texts)] == [r.topic for r in expected]


def test_no_texts_no_results(fitted):
    pipeline, _ = fitted
    assert list(pipeline([])) == []


def test_classifier_alone(fitted, texts, tmp_path):
    pipeline, _ = fitted
    alone = HybridPipeline(pipeline.encoder, None, pipeline.corrector)
    alone.save_pretrained(tmp_path / "classifier")
    loaded = HybridPipeline.from_pretrained(tmp_path / "classifier", device="cpu")
    results = list(loaded(texts))
    assert {r.output for r in results} == {None}
    assert torch.allclose(loaded.probabilities(texts), pipeline.probabilities(texts), atol=1e-5)
    with pytest.raises(UserError, match="no decoder"):
        loaded.write(texts[:1], ["harvest"])


def test_results_of_known_logits_are_what_the_system_yields(fitted, texts):
    pipeline, _ = fitted
    options = PredictOptions(top_k=2, generation=SHORT, window=3)
    found = list(pipeline.results(texts, pipeline.encoder.logits(texts), options))
    assert [(r.topic, r.output) for r in found] == [(r.topic, r.output) for r in pipeline(texts, generation=SHORT)]
    assert all(len(result.topics) == 2 for result in found)
