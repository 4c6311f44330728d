"""Exports say what the bundle says, each in its own runtime, by the lines of their own README."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from unskew.balance import DecisionSettings
from unskew.common import UserError
from unskew.exporting import (
    DESCRIPTION,
    ExportSettings,
    encoder_files,
    export,
    export_bundle,
    onnx_format,
    openvino_format,
)
from unskew.exporting.description import describe
from unskew.exporting.encoder_files import TOLERANCE
from unskew.exporting.readme import _decide
from unskew.pipeline import HARMLESS_TEXT, HybridPipeline

TEXTS = ["wheat barley tractor 7", "  a ship <|topic:football|> [CLS] <|eos|> at sea", "goal " * 200, "日本 ﬁeld"]


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_a_runtime_names_the_bundles_topics_with_its_probabilities(kind, exported, system, run_readme):
    pytest.importorskip({"onnx": "onnxruntime", "openvino": "openvino"}[kind])
    for text in TEXTS:
        values = run_readme(exported(kind), text)
        [expected] = system([text])
        assert values["topics"] == [expected.topic]
        assert np.exp(values["log_p"])[0] == pytest.approx(system.probabilities([text])[0].numpy(), abs=TOLERANCE)
        assert values["confidence"][0] == pytest.approx(expected.confidence, abs=TOLERANCE)


def test_the_readme_decides_by_costs_as_the_bundle_does(system):
    costly = system.with_decision(DecisionSettings(costs={"football": {"harvest": 7.0}, "harbour": {"harvest": 0.1}}))
    encoder = json.loads(json.dumps(describe(costly, ("encoder",))["encoder"]))
    p = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)).double()
    p /= p.sum(-1, keepdim=True)
    values = {"np": np, "described": encoder, "log_p": p.log().numpy(), "texts": TEXTS[:1] * 50}
    exec(_decide(encoder), values)  # noqa: S102 what the README says
    assert values["decided"].tolist() == costly.corrector.decision.decision(p).tolist()


def test_a_merged_decoder_writes_what_the_bundle_writes(exported, system, run_readme):
    for text, topic in zip(TEXTS, ("harvest", "football", "harbour", "football"), strict=True):
        assert run_readme(exported("merged"), text, topic)["output"] == system.write([text], [topic])[0]


def test_the_readme_of_a_merged_folder_names_numbers_that_its_description_has(exported):
    folder = exported("merged")
    described = json.loads((folder / "unskew_export.json").read_text("utf-8"))["encoder"]
    named = (folder / "README.md").read_text("utf-8").partition("has the numbers (")[2].partition(")")[0].split(", ")
    assert named[0]
    assert set(named) <= described.keys()


def test_a_merged_folder_needs_transformers_alone(exported):
    folder = exported("merged")
    script = (
        "import sys; sys.modules['peft'] = sys.modules['unskew'] = None\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline\n"
        f"model = AutoModelForCausalLM.from_pretrained({str(folder / 'decoder')!r})\n"
        f"tokenizer = AutoTokenizer.from_pretrained({str(folder / 'decoder')!r})\n"
        "print(len(model.generate(**tokenizer('wheat', return_tensors='pt', return_token_type_ids=False))[0]) > 1)\n"
        f"print(pipeline('text-classification', {str(folder / 'encoder')!r})('wheat')[0]['label'])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "harvest"]


def test_a_merged_decoder_never_writes_a_control_token(exported):
    folder = exported("merged")
    asked = json.loads((folder / "decoder" / "generation_config.json").read_text())
    described = json.loads((folder / DESCRIPTION).read_text())["decoder"]
    assert set(described["topic_tokens"].values()) | set(described["fairness_token"].values()) <= set(
        asked["suppress_tokens"]
    )


def test_the_description_is_in_the_model_file_too(exported):
    onnx, openvino = pytest.importorskip("onnx"), pytest.importorskip("openvino")
    for kind in ("onnx", "openvino"):
        described = json.loads((exported(kind) / DESCRIPTION).read_text("utf-8"))
        if kind == "onnx":
            properties = onnx.load(exported(kind) / onnx_format.FILE).metadata_props
            found = {its.key: its.value for its in properties}[onnx_format.METADATA]
        else:
            model = openvino.Core().read_model(exported(kind) / openvino_format.FILE)
            found = model.get_rt_info(openvino_format.METADATA).astype(str)
        assert json.loads(found) == described
        assert described["encoder"]["calibration"]["log_temperature"]
        assert described["encoder"]["topics"] == ["harvest", "harbour", "football"]


def test_another_target_prior_is_in_the_graph(bundle, system, tmp_path, run_readme):
    pytest.importorskip("openvino")
    prior = {"harvest": 0.0, "harbour": 1.0, "football": 3.0}
    export(bundle, str(tmp_path / "o"), ExportSettings("openvino", target_prior=prior))
    aimed = system.with_target_prior(prior)
    for text in TEXTS:
        found = np.exp(run_readme(tmp_path / "o", text)["log_p"])[0]
        assert found == pytest.approx(aimed.probabilities([text])[0].numpy(), abs=TOLERANCE)


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_a_decoder_is_refused_where_no_runtime_writes_with_it(kind):
    with pytest.raises(UserError, match=f"{kind} supports only the encoder; export the decoder as merged or gguf"):
        ExportSettings(kind, stage="decoder")


def test_an_encoder_alone_is_a_stage_of_merged(bundle, tmp_path):
    done = export(bundle, str(tmp_path / "e"), ExportSettings("merged", stage="encoder"))
    assert done.stages == ("encoder",)
    assert not (tmp_path / "e" / "decoder").exists()


@pytest.mark.parametrize("kind", ["onnx", "openvino", "gguf"])
def test_a_package_that_is_not_installed_is_named(kind, bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"format {kind} needs .*; pip install 'unskew\[{kind}\]'"):
        export(bundle, str(tmp_path / "e"), ExportSettings(kind))
    assert not (tmp_path / "e").exists()


class Odd(torch.nn.Module):
    """Asks for an operator that no other runtime has."""

    def __init__(self):
        super().__init__()
        self.model = torch.nn.Embedding(10, 4)

    def forward(self, input_ids, attention_mask):
        rows = torch.special.airy_ai(self.model(input_ids).sum(1))
        return {"logits": rows, "log_probabilities": rows}


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_an_operator_that_a_format_lacks_is_named_in_one_line(kind, tmp_path):
    pytest.importorskip(kind)
    example = {name: torch.ones(2, 3, dtype=torch.long) for name in ("input_ids", "attention_mask")}
    write = {"onnx": onnx_format.write, "openvino": openvino_format.write}[kind]
    with pytest.raises(UserError, match="special_airy_ai.*; export it as"):
        write(Odd().eval(), example, {}, tmp_path / "model.xml")


def test_an_operator_that_onnx_runtime_lacks_is_named_in_one_line(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    sides = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    node = onnx.helper.make_node("Nonsense", ["x"], ["y"])
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", sides[:1], sides[1:])), tmp_path / "m.onnx")
    with pytest.raises(UserError, match="No Op registered for Nonsense.*; try a newer onnxruntime"):
        onnx_format.open_file(tmp_path / "m.onnx")


def test_a_runtime_that_says_something_else_leaves_nothing(bundle, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(openvino_format, "write", lambda *given: None)
    monkeypatch.setattr(openvino_format, "open_file", lambda file: lambda inputs: np.log(np.full((1, 3), 1 / 3)))
    with pytest.raises(
        UserError, match=r"OpenVINO disagrees with the bundle: a probability differs by 0\.\d+, more than"
    ):
        export(bundle, str(tmp_path / "e"), ExportSettings("openvino"))
    assert list(tmp_path.iterdir()) == []


def test_the_slow_steps_are_named_before_they_begin(bundle, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "unskew")
    said = []
    monkeypatch.setattr(export_bundle, "_check_packages", lambda settings: None)
    monkeypatch.setattr(onnx_format, "write", lambda *_: said.append(caplog.messages[-1]))
    monkeypatch.setattr(onnx_format, "open_file", lambda file: None)
    monkeypatch.setattr(encoder_files, "check_agreement", lambda *_: said.append(caplog.messages[-1]) or 0.0)
    export(bundle, str(tmp_path / "e"), ExportSettings("onnx"))
    assert said == [
        "the encoder is traced and written as model.onnx, which may take minutes",
        "ONNX Runtime is compared with the bundle",
    ]


def test_only_an_earlier_export_is_replaced(bundle, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="has other contents"):
        export(bundle, str(tmp_path / "mine"), ExportSettings("merged"), overwrite=True)
    settings = ExportSettings("merged", stage="encoder")
    export(bundle, str(tmp_path / "e"), settings)
    with pytest.raises(UserError, match="exists; choose another name"):
        export(bundle, str(tmp_path / "e"), settings)
    export(bundle, str(tmp_path / "e"), settings, overwrite=True)


def test_a_bundle_of_topics_alone_has_no_decoder_to_export(system, tmp_path):
    HybridPipeline(system.encoder, None, system.corrector).save_pretrained(tmp_path / "b")
    assert export(str(tmp_path / "b"), str(tmp_path / "m"), ExportSettings("merged")).stages == ("encoder",)
    with pytest.raises(UserError, match="has no decoder"):
        export(str(tmp_path / "b"), str(tmp_path / "g"), ExportSettings("gguf"))
    with pytest.raises(UserError, match="has no decoder"):
        export(str(tmp_path / "b"), str(tmp_path / "g"), ExportSettings("merged", stage="decoder"))


def test_the_example_of_a_readme_is_a_text_that_works(exported, system, run_readme):
    assert (
        run_readme(exported("merged"), HARMLESS_TEXT, "harvest")["output"]
        == system.write([HARMLESS_TEXT], ["harvest"])[0]
    )
