"""Bundles: whole or refused, and the old one survives."""

import errno
import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from unskew.common import UserError
from unskew.encoder import TopicEncoder
from unskew.pipeline import HybridPipeline


@pytest.fixture
def bundle(fitted, tmp_path):
    return shutil.copytree(fitted[1], tmp_path / "bundle")


def test_layout(bundle):
    files = {"unskew.json", "metrics.json", "README.md", "held_out.safetensors"}
    assert files | {"encoder", "decoder"} == {p.name for p in bundle.iterdir()}
    weights = [p for p in bundle.rglob("*") if p.suffix in (".bin", ".pt", ".ckpt", ".pkl")]
    assert weights == []
    card = (bundle / "README.md").read_text()
    assert "| football | 8 | few |" in card


def test_plain_transformers_reads_the_encoder(bundle, fitted, texts):
    from transformers import pipeline as transformers_pipeline

    classify = transformers_pipeline("text-classification", str(bundle / "encoder"))
    names = fitted[0].encoder.topics
    best = fitted[0].encoder.logits(texts).argmax(-1).tolist()
    assert [found["label"] for found in classify(texts)] == [names[i] for i in best]


def test_can_be_moved(bundle, tmp_path, texts):
    moved = tmp_path / "elsewhere"
    before = list(HybridPipeline.from_pretrained(bundle, device="cpu")(texts[:2]))
    bundle.rename(moved)
    assert list(HybridPipeline.from_pretrained(moved, device="cpu")(texts[:2])) == before


@pytest.mark.parametrize(
    "name",
    ["encoder/model.safetensors", "encoder/tokenizer.json", "decoder/adapter_config.json", "metrics.json"],
)
def test_missing_file_is_named(bundle, name):
    (bundle / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        HybridPipeline.from_pretrained(bundle)


@pytest.mark.parametrize("name", ["encoder/model.safetensors", "decoder/adapter_model.safetensors"])
def test_truncated_file_is_named(bundle, name):
    whole = (bundle / name).read_bytes()
    (bundle / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=f"{name} has .* cut short"):
        HybridPipeline.from_pretrained(bundle)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}'])
def test_broken_manifest(bundle, text):
    (bundle / "unskew.json").write_text(text)
    with pytest.raises(UserError, match="restore it or fit again"):
        HybridPipeline.from_pretrained(bundle)


def test_newer_format_asks_for_an_upgrade(bundle):
    manifest = json.loads((bundle / "unskew.json").read_text())
    (bundle / "unskew.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(UserError, match="upgrade"):
        HybridPipeline.from_pretrained(bundle)


def test_folder_that_is_no_bundle(tmp_path):
    with pytest.raises(UserError, match="not a bundle"):
        HybridPipeline.from_pretrained(tmp_path)


def test_full_disk_leaves_the_old_bundle(fitted, bundle, texts, monkeypatch):
    before = {p: p.read_bytes() for p in bundle.rglob("*") if p.is_file()}

    def full(self, folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TopicEncoder, "save_pretrained", full)
    with pytest.raises(UserError, match="no space left"):
        fitted[0].save_pretrained(bundle)
    assert {p: p.read_bytes() for p in bundle.rglob("*") if p.is_file()} == before
    assert [p.name for p in bundle.parent.iterdir()] == ["bundle"]


def test_the_card_may_be_edited(bundle, texts):
    (bundle / "README.md").write_text("ours")
    assert list(HybridPipeline.from_pretrained(bundle, device="cpu")(texts[:1]))


def test_stages_of_different_systems_are_refused(fitted):
    pipeline, _ = fitted
    from dataclasses import replace

    from unskew.corpus import Topics

    other = replace(pipeline.corrector, topics=Topics(("x", "y", "z"), (1, 1, 1)))
    with pytest.raises(UserError, match="mixed"):
        HybridPipeline(pipeline.encoder, pipeline.decoder, other)


@pytest.mark.parametrize("name", ["encoder/model.safetensors", "decoder/adapter_model.safetensors"])
def test_weights_that_are_no_numbers_are_refused(bundle, name):
    weights = load_file(bundle / name)
    last = sorted(weights)[-1]
    weights[last].view(-1)[0] = float("inf")
    save_file(weights, bundle / name, metadata={"format": "pt"})
    manifest = json.loads((bundle / "unskew.json").read_text())
    del manifest["sha256"]  # as bundles of version 0.1.0 have it: otherwise the hash tells first
    (bundle / "unskew.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="is not finite"):
        HybridPipeline.from_pretrained(bundle, device="cpu")


@pytest.mark.parametrize("stage", ["encoder", "decoder"])
def test_weights_that_are_no_numbers_are_not_saved(bundle, tmp_path, stage):
    pipe = HybridPipeline.from_pretrained(bundle, device="cpu", merge=False)
    next(getattr(pipe, stage).model.parameters()).data.view(-1)[0] = float("nan")
    with pytest.raises(UserError, match=f"the {stage} cannot be saved: .* is not finite"):
        pipe.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("part", ["encoder", "decoder/base"])
def test_code_in_a_bundle_is_not_run_and_nobody_is_asked(bundle, part, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked on the terminal"))
    config = json.loads((bundle / part / "config.json").read_text())
    classes = ("AutoConfig", "AutoModelForCausalLM", "AutoModelForSequenceClassification", "AutoTokenizer")
    own = {"model_type": "own", "auto_map": dict.fromkeys(classes, "own.Own")}
    (bundle / part / "config.json").write_text(json.dumps({**config, **own}))
    (bundle / part / "own.py").write_text("raise SystemExit('run')")
    with pytest.raises(UserError, match="custom code"):
        HybridPipeline.from_pretrained(bundle, device="cpu")


def test_an_adapters_modules_are_named_in_order(fitted, tmp_path, monkeypatch):
    """Whatever the hash seed of the process: equal fits give equal files."""
    config = fitted[0].decoder.model.peft_config["default"]
    monkeypatch.setattr(config, "target_modules", {"v_proj", "q_proj", "up_proj", "k_proj", "a"})
    fitted[0].decoder.save_pretrained(tmp_path / "decoder")
    names = json.loads((tmp_path / "decoder" / "adapter_config.json").read_text())["target_modules"]
    assert names == ["a", "k_proj", "q_proj", "up_proj", "v_proj"]
