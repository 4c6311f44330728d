"""Logits do not depend on company or order, and a saved encoder is a plain transformers model."""

import shutil

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import pipeline

from unskew.common import UserError
from unskew.encoder import TopicEncoder
from unskew.runtime.int8 import int8_available
from unskew.runtime.prepacked import PrepackedLinear, packable

TEXTS = ["crude oil", "the judge and the jury", "", "goal " * 50, "\0 \u202eעברית 😀 <|sep|>", "gas"]


def test_each_text_gets_the_logits_it_gets_alone(encoder):
    together = encoder.logits(TEXTS)
    assert together.dtype == torch.float32
    assert together.shape == (6, 3)
    alone = torch.cat([encoder.logits([text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(max_size=60), max_size=8), budget=st.integers(1, 200), data=st.data())
def test_order_and_budget_change_nothing(encoder, texts, budget, data):
    order = data.draw(st.permutations(range(len(texts))))
    expected = encoder.logits(texts)[torch.tensor(order, dtype=torch.long)]
    found = encoder.logits([texts[i] for i in order], tokens_per_batch=budget)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_no_texts_give_no_rows(encoder):
    assert encoder.logits([]).shape == (0, 3)


def test_progress_counts_every_text(encoder):
    done = []
    encoder.logits(TEXTS, tokens_per_batch=40, progress=done.append)
    assert sum(done) == len(TEXTS)
    assert len(done) > 1


def test_batches_stay_within_the_budget(encoder):
    sizes = []
    handle = encoder.model.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    encoder.logits(["gas"] * 50 + ["goal " * 20], tokens_per_batch=64)
    handle.remove()
    assert max(sizes) <= 64


def test_batches_are_halved_when_memory_runs_out(encoder):
    def small(module, args, kwargs):
        if len(kwargs["input_ids"]) > 2:
            raise torch.OutOfMemoryError("full")

    expected = encoder.logits(TEXTS)
    handle = encoder.model.register_forward_pre_hook(small, with_kwargs=True)
    found = encoder.logits(TEXTS)
    handle.remove()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_loaded_encoder_equals_the_saved_one(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    loaded = TopicEncoder.from_pretrained(tmp_path)
    assert (loaded.topics, loaded.max_tokens) == (encoder.topics, encoder.max_tokens)
    assert torch.equal(loaded.logits(TEXTS), encoder.logits(TEXTS))
    assert [file.suffix for file in tmp_path.iterdir() if file.stat().st_size > 20_000] != [".bin"]
    assert (tmp_path / "model.safetensors").exists()


def test_a_loaded_encoder_is_packed_where_it_pays(encoder, tmp_path, monkeypatch):
    if not packable(torch.float32):
        pytest.skip("needs oneDNN")
    monkeypatch.setattr("unskew.runtime.prepacked.SMALLEST", 0)
    encoder.save_pretrained(tmp_path)
    loaded = TopicEncoder.from_pretrained(tmp_path)
    assert any(isinstance(module, PrepackedLinear) for module in loaded.model.modules())
    torch.testing.assert_close(loaded.logits(TEXTS), encoder.logits(TEXTS), atol=1e-4, rtol=1e-4)


def test_plain_transformers_agrees(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    classify = pipeline("text-classification", str(tmp_path), device="cpu", top_k=None)
    expected = encoder.logits(TEXTS).softmax(dim=1)
    for answer, row in zip(classify(TEXTS, truncation=True), expected, strict=True):
        scores = {entry["label"]: entry["score"] for entry in answer}
        assert scores == pytest.approx(dict(zip(encoder.topics, row.tolist(), strict=True)), abs=1e-5)


def test_bfloat16_is_close(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    half = TopicEncoder.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.logits(TEXTS).dtype == torch.float32
    difference = half.logits(TEXTS).softmax(1) - encoder.logits(TEXTS).softmax(1)
    assert 0 < difference.abs().max() < 0.05


@pytest.mark.skipif(not int8_available(), reason="needs oneDNN on x86")
def test_int8_is_close_and_not_saved(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    rounded = TopicEncoder.from_pretrained(tmp_path, int8=True)
    difference = rounded.logits(TEXTS).softmax(1) - encoder.logits(TEXTS).softmax(1)
    assert 0 < difference.abs().max() < 0.05
    alone = torch.cat([rounded.logits([text]) for text in TEXTS])
    torch.testing.assert_close(rounded.logits(TEXTS), alone, atol=1e-2, rtol=1e-2)
    with pytest.raises(UserError, match="int8 encoder cannot be saved"):
        rounded.save_pretrained(tmp_path / "again")


@pytest.mark.parametrize("damage", ["missing", "truncated", "empty"])
def test_a_damaged_folder_is_named(encoder, tmp_path, damage):
    encoder.save_pretrained(tmp_path / "encoder")
    weights = tmp_path / "encoder" / "model.safetensors"
    if damage == "missing":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        shutil.rmtree(tmp_path / "encoder")
    with pytest.raises(UserError, match="encoder"):
        TopicEncoder.from_pretrained(tmp_path / "encoder")
