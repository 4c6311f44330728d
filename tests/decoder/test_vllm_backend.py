"""Writing with vLLM: with the real one where it is installed, else with a stand-in that takes the same calls."""

import sys
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM

from unskew.common import UserError
from unskew.decoder import GenerationSettings, TopicDecoder, check_backend

TEXTS = ["Today Ada spoke of prices.", "", "Bob " * 40, "a\0b 😀 مرحبا", "<|topic:oil|> <force_fairness>"]
TOPICS = ["oil", "wheat", "oil", "wheat", "wheat"]
SHORT = GenerationSettings(max_new_tokens=12)
INSTALLED = find_spec("vllm") is not None


class StandIn:
    """Greedy, a row at a time."""

    def __init__(self, folder, *, dtype, max_model_len, **_):
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
        self.room = max_model_len

    def generate(self, prompts, asked, use_tqdm):
        assert all(params.temperature == 0 for params in asked)
        return [self.answer(prompt["prompt_token_ids"], params) for prompt, params in zip(prompts, asked, strict=True)]

    @torch.inference_mode()
    def answer(self, prompt, params):
        ids = list(prompt)
        for _ in range(params.max_tokens):
            assert len(ids) < self.room
            logits = self.model(input_ids=torch.tensor([ids])).logits[0, -1]
            for token, bias in params.logit_bias.items():
                logits[token] += bias
            ids.append(int(logits.argmax()))
            if ids[-1] in params.stop_token_ids:
                break
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=ids[len(prompt) :])])


@pytest.fixture(autouse=True)
def vllm(monkeypatch):
    if not INSTALLED:
        module = ModuleType("vllm")
        module.LLM, module.SamplingParams = StandIn, SimpleNamespace
        monkeypatch.setitem(sys.modules, "vllm", module)
        monkeypatch.setattr("unskew.decoder.vllm_backend.packages_distributions", lambda: {"vllm": ["torch"]})


@pytest.fixture(scope="module")
def saved(make_base, make_decoder, tmp_path_factory):
    """A decoder that would name topics all the time if it were let, and end soon."""
    folder = tmp_path_factory.mktemp("vllm")
    make_decoder(make_base(folder / "base", spare=40, head=64)).save_pretrained(folder / "adapter")
    decoder = TopicDecoder.from_pretrained(folder / "adapter", device="cpu")
    with torch.no_grad():
        rows = decoder.model.get_output_embeddings().weight
        rows[list(decoder.control.ids)] *= 1000
        rows[decoder.tokenizer.eos_token_id] *= 8
    # A base's habit, which only its own generation keeps.
    decoder.model.generation_config.eos_token_id = [decoder.tokenizer.eos_token_id, *range(100, 200)]
    decoder.save_pretrained(folder / "saved")
    return folder / "saved"


def test_outputs_and_scores_are_torchs(saved, monkeypatch):
    plain = TopicDecoder.from_pretrained(saved, device="cpu")
    with_vllm = TopicDecoder.from_pretrained(saved, backend="vllm")
    done = []
    written = with_vllm.generate(TEXTS, TOPICS, SHORT, progress=done.append)
    assert written == plain.generate(TEXTS, TOPICS, SHORT)
    assert len({len(output) for output in written}) > 2  # ended, some at once
    assert sum(done) == len(TEXTS)
    assert with_vllm.generate(TEXTS[:2], TOPICS[:2], SHORT, fairness=True) == plain.generate(
        TEXTS[:2], TOPICS[:2], SHORT, fairness=True
    )
    torch.testing.assert_close(with_vllm.topic_logits(TEXTS), plain.topic_logits(TEXTS))
    with pytest.raises(UserError, match="max_new_tokens is 100,000, but the decoder's base has 256 positions"):
        with_vllm.generate(TEXTS, TOPICS, GenerationSettings(max_new_tokens=100_000))
    monkeypatch.setattr(with_vllm._vllm, "_longest", 128)  # of a base with more positions than vLLM was given room
    with pytest.raises(UserError, match="vLLM has room for 128"):
        with_vllm.generate(TEXTS, TOPICS, GenerationSettings(max_new_tokens=100))
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="give backend torch, or set sample to false"):
            with_vllm.generate(TEXTS, TOPICS, GenerationSettings(12, sample=True))


def test_what_vllm_cannot_load_is_explained(saved, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("no such architecture\nand a long story")

    monkeypatch.setattr("vllm.LLM", refuse)
    with pytest.raises(UserError, match=r"vLLM cannot load the decoder \(no such architecture\); give backend torch"):
        TopicDecoder.from_pretrained(saved, backend="vllm")


def test_it_is_for_merged_weights(saved):
    with pytest.raises(UserError, match="merge=True"):
        TopicDecoder.from_pretrained(saved, backend="vllm", merge=False)


def test_backends_are_checked(monkeypatch):
    here = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert check_backend("torch", "int8", here) == "torch"
    assert check_backend("vllm", "float32", here).count(" ") == 1
    for wrong, message in (
        (("jax", "float32", here), "torch, vllm"),
        (("vllm", "int8", here), "no precision int8"),
        (("vllm", "float32", torch.device("cuda:1")), "runs on the first visible GPU"),
    ):
        with pytest.raises(UserError, match=message):
            check_backend(*wrong)
    monkeypatch.setattr("unskew.decoder.vllm_backend.packages_distributions", dict)
    with pytest.raises(UserError, match=r"pip install .unskew\[vllm\]"):
        check_backend("vllm", "float32", here)
