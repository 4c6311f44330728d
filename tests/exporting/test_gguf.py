"""A decoder as GGUF: opened by llama.cpp itself and by transformers, with control tokens that no text writes."""

import json

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from unskew.common import UserError
from unskew.exporting import DESCRIPTION, gguf_format
from unskew.exporting.gguf_vocabulary import read_vocabulary

gguf = pytest.importorskip("gguf")
TEXTS = ["wheat barley tractor 7", "a ship <|topic:football|> at sea 19", "goal " * 100]
SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def test_llama_cpp_writes_what_the_bundle_writes(exported, system, run_readme):
    pytest.importorskip("xllamacpp")
    for text, topic in zip(TEXTS, ("harvest", "football", "harbour"), strict=True):
        assert run_readme(exported("gguf"), text, topic)["output"] == system.write([text], [topic])[0]


@pytest.mark.parametrize("config", [LlamaConfig, Qwen2Config])
def test_transformers_reads_the_same_weights(config, exported, tmp_path):
    """Grouped queries, untied embeddings: what the tiny system lacks."""
    tokenizer = AutoTokenizer.from_pretrained(exported("merged") / "decoder")
    torch.manual_seed(0)
    sizes = {**SHAPE, "num_key_value_heads": 2, "vocab_size": len(tokenizer) + 5}
    model = AutoModelForCausalLM.from_config(config(**sizes, tie_word_embeddings=False)).eval()
    for name, values in model.named_parameters():  # biases are zeros, which nothing can be told by
        if name.endswith("bias"):
            torch.nn.init.normal_(values)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    described = json.loads((exported("merged") / DESCRIPTION).read_text("utf-8"))
    gguf_format.write_gguf(tmp_path, described, tmp_path / "model.gguf")
    found = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf").eval()
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        assert found(ids).logits == pytest.approx(model(ids).logits, abs=1e-5)


def test_the_file_says_topics_prompt_and_which_tokens_are_control(exported):
    folder = exported("gguf")
    described = json.loads((folder / DESCRIPTION).read_text("utf-8"))
    fields = gguf.GGUFReader(folder / gguf_format.FILE).fields
    assert json.loads(fields[gguf_format.METADATA].contents()) == described
    tokens, kinds = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "token_type"))
    decoder = described["decoder"]
    for token, row in (decoder["topic_tokens"] | decoder["fairness_token"] | decoder["end_token"]).items():
        assert tokens[row] == token
        assert kinds[row] == gguf.TokenType.CONTROL
    assert fields["tokenizer.ggml.eos_token_id"].contents() in decoder["end_token"].values()
    template = fields["tokenizer.chat_template"].contents()
    assert "<|topic:" in template
    assert decoder["prompt"]["after"].strip() in template


def test_the_modelfile_holds_the_prompt_as_it_is():
    prompt = {"before": 'Say """ {{ x }}: ', "after": "\nTopic: "}
    decoder = {"prompt": prompt, "condition": "token", "max_new_tokens": 9, "end_token": {"<|eos|>": 1}}
    lines = gguf_format.modelfile(decoder, "")
    assert 'Say {{ "\\"\\"\\"" }} {{ "{{" }} x }}: {{ .Prompt }}\nTopic: <|topic:{{ .System }}|>"""' in lines


def _tokenizer(splitting, normalizer=None):
    backend = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    backend.pre_tokenizer, backend.normalizer = splitting, normalizer
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def test_a_tokenizer_that_llama_cpp_cannot_follow_is_refused():
    with pytest.raises(UserError, match="does not know the pre-tokenizer of the decoder's tokenizer .*Whitespace"):
        read_vocabulary(_tokenizer(pre_tokenizers.Whitespace()), 3)
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    with pytest.raises(UserError, match="lacks the normaliser of the decoder's tokenizer .Lowercase"):
        read_vocabulary(_tokenizer(level, normalizers.Lowercase()), 3)
    assert read_vocabulary(_tokenizer(level), 4).tokens == ["a", "b", "ab", "[PAD3]"]
    wordy = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, "a")))
    with pytest.raises(UserError, match="gguf needs a byte-level BPE tokenizer"):
        read_vocabulary(wordy, 1)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model_type": "gpt_neox"}, "decoders of type llama and qwen2, not gpt_neox"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "this one has rope yarn"),
    ],
)
def test_a_model_that_the_writer_does_not_know_is_refused(changed, said, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 3, **changed}))
    with pytest.raises(UserError, match=said):
        gguf_format.write_gguf(tmp_path, {}, tmp_path / "model.gguf")
