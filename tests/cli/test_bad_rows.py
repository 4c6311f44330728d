"""Odd rows and broken training from the command line: a fit and a job that work, or one line and no bundle."""

import json

import pytest
import torch
from quick_stages import STAGE, STAGES
from transformers import BertConfig, BertForMaskedLM

from unskew.cli.main import main
from unskew.common import write_jsonl
from unskew.decoder.module import DecoderModule
from unskew.encoder.module import EncoderModule
from unskew.runtime import train_tokenizer

ODD = {"17": "wheat barley field", "\u200b": "ship cargo crane", "name " * 1000: "goal keeper league"}


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    return ended.value.code, capsys.readouterr().err.strip()


def fit(capsys, folder, rows, **stages):
    """Exit code and standard error of a fit into `bundle`."""
    write_jsonl(folder / "train.jsonl", rows)
    config = {"data": {"train": str(folder / "train.jsonl")}, **stages}
    (folder / "fit.json").write_text(json.dumps(config))
    return call(capsys, "fit", "--config", folder / "fit.json", "--output", folder / "bundle")


def test_odd_topics_are_fitted_and_predicted(capsys, tmp_path):
    rows = [
        {"id": f"{place}-{i}", "text": f"{words} {i}", "topic": topic, "target": f"of {words}"}
        for place, (topic, words) in enumerate(ODD.items())
        for i in range(8)
    ]
    assert fit(capsys, tmp_path, rows, **STAGES)[0] == 0
    output = tmp_path / "out.jsonl"
    given = ("--model", tmp_path / "bundle", "--input", tmp_path / "train.jsonl", "--output", output, "--device", "cpu")
    assert call(capsys, "predict", *given)[0] == 0
    found = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert {row["topic"] for row in found} <= set(ODD)
    assert set(found[0]["topics"]) == set(ODD)
    assert all(isinstance(row["output"], str) for row in found)


@pytest.fixture
def base(tmp_path, corpus):
    texts = [json.loads(line)["text"] for line in (corpus / "train.jsonl").read_text().splitlines()]
    tokenizer = train_tokenizer(texts, 320)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


@pytest.mark.parametrize("module", [EncoderModule, DecoderModule], ids=["tuned encoder", "decoder"])
def test_training_without_a_finite_loss_ends_in_one_line_and_writes_no_bundle(
    module, base, make_rows, capsys, tmp_path, monkeypatch
):
    step = module.training_step
    monkeypatch.setattr(module, "training_step", lambda *given: step(*given) * torch.nan)
    tuned = {"base": base, "max_tokens": 32, "trainer": STAGE["trainer"]}
    stages = {"encoder": tuned, "decoder": None} if module is EncoderModule else STAGES
    code, said = fit(capsys, tmp_path, make_rows({"harvest": 12, "harbour": 8, "football": 4}, 0, "train"), **stages)
    assert code == 2
    assert "\n" not in said
    assert "training diverged: the loss is nan at step 1" in said
    assert not (tmp_path / "bundle").exists()
    stage = "encoder" if module is EncoderModule else "decoder"
    assert not list((tmp_path / "bundle.work" / stage).rglob("done.json"))
