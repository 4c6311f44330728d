"""Bundles that someone has tampered with: each is refused in one line, before its weights fill the memory."""

import json
import os
import shutil
from pathlib import Path

import pytest
from object_store import memory_store
from safetensors.numpy import load_file, save_file

from unskew.common import UserError
from unskew.pipeline import HybridPipeline

FIXTURE = Path(__file__).parent.parent / "fixtures" / "format-1" / "bundle"


@pytest.fixture
def bundle(tmp_path):
    """A bundle of version 0.1.0, its manifest under the names of this version."""
    made = Path(shutil.copytree(FIXTURE, tmp_path / "bundle"))
    text = (made / "unskew.json").read_text()
    for old, new in (("decider", "corrector"), ("implied_prior", "model_prior")):
        text = text.replace(f'"{old}":', f'"{new}":')
    (made / "unskew.json").write_text(text)
    return made


def refused(bundle):
    with pytest.raises(UserError) as caught:
        HybridPipeline.from_pretrained(bundle, device="cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(bundle, name, change):
    """Change a JSON file, and let the manifest agree, as one would who can write both."""
    value = json.loads((bundle / name).read_text())
    change(value)
    (bundle / name).write_text(json.dumps(value))


def assign(*path, to):
    def change(value):
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = to

    return change


MANIFEST = "unskew.json"


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (MANIFEST, assign("format", to="1"), "format"),
        (MANIFEST, assign("format", to=True), "format"),
        (MANIFEST, assign("corrector", to=[]), "corrector"),
        (MANIFEST, assign("corrector", "topics", "names", to=["harbour", "harbour"]), "a name occurs twice"),
        (MANIFEST, assign("corrector", "topics", "names", to=["harbour", 3]), "names"),
        (MANIFEST, assign("corrector", "topics", "counts", to=[12, -1]), "counts"),
        (MANIFEST, assign("corrector", "topics", "counts", to=[12]), "2 names but 1 counts"),
        (MANIFEST, assign("corrector", "topics", "counts", to=[10**30, 1]), "counts"),
        (MANIFEST, assign("corrector", "model_prior", to=[0.5]), "model_prior has 1 numbers for 2 topics"),
        (MANIFEST, assign("corrector", "model_prior", to=[0.9, 0.9]), "model_prior sums to 1.8"),
        (MANIFEST, assign("corrector", "target_prior", to=[float("nan"), 1.0]), "target_prior"),
        (MANIFEST, assign("corrector", "target_prior", to=[-1.0, 2.0]), "target_prior"),
        (MANIFEST, assign("corrector", "calibration", "log_temperature", to=[1e6]), "log_temperature"),
        (MANIFEST, assign("corrector", "calibration", "bias", to=[0.1, 0.2, 0.3]), "calibration.bias has 3 numbers"),
        (MANIFEST, assign("corrector", "calibration", "report", "kind", to="magic"), "kind"),
        (MANIFEST, assign("corrector", "calibration", "report", "further", to=1), "cannot be loaded"),
        (MANIFEST, assign("corrector", "loss_link", to={"power": 1.5}), "loss_link.power"),
        (MANIFEST, assign("corrector", "held_out", to={"scores": [0.5], "labels": [7]}), "names topic 7 of 2"),
        (MANIFEST, assign("description", to="x"), "description"),
        (MANIFEST, assign("files", to={"../../secret.safetensors": 3}), "inside the bundle"),
        (MANIFEST, assign("files", to={"/etc/passwd": 3}), "inside the bundle"),
        (MANIFEST, assign("files", to={"encoder/./config.json": 3}), "inside the bundle"),
        (MANIFEST, assign("files", to=["encoder/config.json"]), "files"),
        (MANIFEST, assign("sha256", to={"encoder/model.safetensors": "0" * 64}), "SHA-256 differs"),
        (MANIFEST, assign("sha256", to={"encoder/model.safetensors": "abc"}), "sha256"),
        ("metrics.json", assign("validation", to=[1]), "validation"),
        ("decoder/decoder.json", assign("topics", to=["other", "topics"]), "mixed"),
        ("decoder/decoder.json", assign("max_tokens", to=0), "max_tokens"),
        ("decoder/decoder.json", assign("max_target_tokens", to=10**12), "max_target_tokens"),
        ("decoder/decoder.json", assign("prompt", to={"before": 1, "after": ""}), "prompt.before"),
        ("decoder/decoder.json", assign("condition", to="magic"), "condition"),
        ("decoder/adapter_config.json", assign("r", to=10**9), "r: input should be less"),
        ("decoder/adapter_config.json", assign("target_modules", to="(a+)+$"), "target_modules"),
        ("decoder/adapter_config.json", assign("target_modules", to=["(a+)+$"]), "target_modules"),
        ("decoder/adapter_config.json", assign("rank_pattern", to={"(a+)+$": 4}), "rank_pattern"),
        ("decoder/adapter_config.json", assign("peft_type", to="PROMPT_TUNING"), "peft_type"),
        ("decoder/adapter_config.json", assign("auto_mapping", to={"base_model_class": "os"}), "auto_mapping"),
        ("decoder/adapter_config.json", assign("layer_replication", to=[[0, 10**6]]), "layer_replication"),
        ("decoder/adapter_config.json", assign("base_model_name_or_path", to=""), "base_model_name_or_path"),
        ("encoder/config.json", assign("num_hidden_layers", to=10**7), "num_hidden_layers 10000000"),
        ("encoder/config.json", assign("hidden_size", to=10**9), "hidden_size 1000000000"),
        ("encoder/config.json", assign("vocab_size", to=2**40), "vocab_size"),
        ("encoder/config.json", assign("auto_map", to={"AutoConfig": "evil.Config"}), "asks for custom code"),
        ("decoder/base/config.json", assign("intermediate_size", to=2**33), "intermediate_size"),
        ("encoder/config.json", assign("id2label", to={"0": "other", "1": "topics"}), "mixed"),
    ],
)
def test_a_wrong_value_is_named(bundle, name, change, said):
    edit(bundle, name, change)
    assert said in refused(bundle)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"format": 1', "\ufeff{}", '{"format": 1, "x": "\\ud800"}', "\0"])
def test_a_manifest_that_is_no_json_is_refused(bundle, content):
    (bundle / "unskew.json").write_text(content)
    assert "is broken" in refused(bundle)


@pytest.mark.parametrize(
    "name", ["encoder/pytorch_model.bin", "decoder/adapter_model.bin", "encoder/modeling.py", "x.PKL"]
)
def test_files_that_could_run_code_are_refused(bundle, name):
    (bundle / name).write_bytes(b"")
    assert f"{name} could be custom code" in refused(bundle)


def test_a_pipe_does_not_hang(bundle):
    (bundle / "encoder" / "config.json").unlink()
    os.mkfifo(bundle / "encoder" / "config.json")
    assert "config.json" in refused(bundle)


def test_links_in_circles_are_refused(bundle, tmp_path):
    (bundle / "encoder" / "loop").symlink_to("loop")
    assert "neither a file nor a folder" in refused(bundle)
    (tmp_path / "circle").symlink_to("circle")
    assert "circle" in refused(tmp_path / "circle")


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 5000])
def test_odd_names_are_refused(name):
    refused(name)


def test_weights_that_were_changed_are_refused_by_their_hash(fitted, tmp_path):
    fitted[0].save_pretrained(tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle" / "unskew.json").read_text())
    assert {name.rpartition("/")[2] for name in manifest["sha256"]} >= {"model.safetensors", "tokenizer.json"}
    path = tmp_path / "bundle" / "encoder" / "model.safetensors"
    weights = load_file(path)
    name = next(iter(weights))
    weights[name] = weights[name] + 1
    save_file(weights, path, metadata={"format": "pt"})
    assert "SHA-256 differs" in refused(tmp_path / "bundle")


def test_only_a_bundle_or_an_empty_folder_is_replaced(fitted, tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("mine")
    monkeypatch.chdir(tmp_path / "home")
    for place in (tmp_path / "home", tmp_path / "file", tmp_path, ".", "/", ""):
        with pytest.raises(UserError):
            fitted[0].save_pretrained(place)
    assert (tmp_path / "home" / "thesis.tex").read_text() == "years of work"
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    for _ in range(2):
        fitted[0].save_pretrained(tmp_path / "empty")
    assert (tmp_path / "empty" / "unskew.json").exists()


@pytest.mark.parametrize("name", ["../../../../written", "a//b", "encoder/./b", "a\\b", "a\0b"])
def test_an_object_whose_name_leads_out_of_the_bundle(bundle, tmp_path, monkeypatch, name):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with memory_store() as store:
        for path in (path for path in bundle.rglob("*") if path.is_file()):
            store.pipe_file(f"/models/mine/{path.relative_to(bundle).as_posix()}", path.read_bytes())
        assert HybridPipeline.from_pretrained("memory://models/mine", device="cpu")
        shutil.rmtree(tmp_path / "cache")
        store.pipe_file(f"/models/mine/{name}", b"harm")
        assert "which is not the name of a file inside a bundle" in refused("memory://models/mine")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == b"harm"]
