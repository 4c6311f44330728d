"""Writes a plain transformers decoder as GGUF, for llama.cpp and tools built on it. Knows files; knows no bundle.

llama.cpp's own converter is not a package on the index, and refuses tokenizers that it does not know. It knows many
architectures; the two here are those of small bases.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from transformers import AutoTokenizer

from ..common import UserError
from .gguf_vocabulary import GgufVocabulary, read_vocabulary

FILE = "model.gguf"
METADATA = "unskew.export"
ARCHITECTURES = ("llama", "qwen2")


def write_gguf(folder: Path, description: Mapping[str, Any], file: Path) -> str:
    """Write a plain model as one file in float32. Returns the string that every text must start with for llama.cpp.

    Args:
        folder: Folder with config.json, safetensors and a tokenizer, as transformers writes them.
        description: Description for the file's metadata, beside a chat template whose system message names the topic.
        file: File to write.

    Raises:
        UserError: If llama.cpp does not support the model or the tokenizer.
    """
    from gguf import MODEL_ARCH, GGUFWriter, get_tensor_name_map

    config = json.loads((folder / "config.json").read_text("utf-8"))
    _check(config)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    vocabulary = read_vocabulary(tokenizer, config["vocab_size"])
    kind = config["model_type"]
    writer = GGUFWriter(file, kind)
    _add_shape(writer, config)
    _add_tokenizer(writer, vocabulary, tokenizer)
    writer.add_chat_template(chat_template(description["decoder"], vocabulary.text_start))
    writer.add_string(METADATA, json.dumps(description, ensure_ascii=False))
    names = get_tensor_name_map(MODEL_ARCH[kind.upper()], config["num_hidden_layers"])
    for name, values in _tensors(folder):
        own = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if own is None:
            raise UserError(f"gguf has no name for the weight {name} of a {kind} model; export it as merged")
        writer.add_tensor(own, _arranged(name, values, config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return vocabulary.text_start


def chat_template(decoder: Mapping[str, Any], text_start: str) -> str:
    """A Jinja template: the last message is the text, the first one the topic."""
    before, after = (json.dumps(decoder["prompt"][half], ensure_ascii=False) for half in ("before", "after"))
    start, end = topic_frame(decoder["condition"])
    text = f"{{{{ {before} }}}}{text_start}{{{{ messages[-1]['content'] }}}}{{{{ {after} }}}}"
    return text + f"{{{{ {json.dumps(start)} + messages[0]['content'] + {json.dumps(end)} }}}}"


def topic_frame(condition: str) -> tuple[str, str]:
    """The strings before and after a topic's name; for condition "both" those of the token alone."""
    return ("Topic: ", "\n") if condition == "text" else ("<|topic:", "|>")


def modelfile(decoder: Mapping[str, Any], text_start: str) -> str:
    """A Modelfile for Ollama: the prompt is the text, the system message the topic."""
    before, after = (_literal(decoder["prompt"][half]) for half in ("before", "after"))
    start, end = topic_frame(decoder["condition"])
    [stop] = decoder["end_token"]
    return (
        f"FROM ./{FILE}\n"
        f'TEMPLATE """{before}{text_start}{{{{ .Prompt }}}}{after}{start}{{{{ .System }}}}{end}"""\n'
        f"PARAMETER temperature 0\nPARAMETER num_predict {decoder['max_new_tokens']}\n"
        f"PARAMETER stop {json.dumps(stop)}\n"
    )


def _check(config: Mapping[str, Any]) -> None:
    kind = config["model_type"]
    if kind not in ARCHITECTURES:
        raise UserError(f"gguf supports decoders of type {' and '.join(ARCHITECTURES)}, not {kind}; export as merged")
    rope = (config.get("rope_parameters") or {}).get("rope_type", "default")
    if rope != "default" or config.get("mlp_bias") or config.get("use_sliding_window"):
        raise UserError(
            f"gguf supports only plain {kind} models, and this one has rope {rope}, biases in its MLP, or a sliding "
            "window; export it as merged"
        )


def _add_shape(writer: Any, config: Mapping[str, Any]) -> None:
    from gguf import LlamaFileType

    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_name("unskew decoder")
    writer.add_file_type(LlamaFileType.ALL_F32)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(float(config["rope_parameters"]["rope_theta"]))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def _add_tokenizer(writer: Any, vocabulary: GgufVocabulary, tokenizer: Any) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.splitting)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    writer.add_token_merges(vocabulary.merges)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_add_bos_token(False)  # the prompt contains one if the base wants it


def _tensors(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118 not a dict
                yield name, weights.get_tensor(name).float().numpy()


def _arranged(name: str, values: np.ndarray, config: Mapping[str, Any]) -> np.ndarray:
    """Reorder queries and keys: llama.cpp rotates neighbouring pairs, transformers the two halves of a head."""
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config.get("num_key_value_heads")}
    its = next((count for part, count in heads.items() if f".{part}." in name), None)
    if its is None or config["model_type"] != "llama":
        return values
    halves = values.reshape(its, 2, values.shape[0] // its // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))


def _literal(text: str) -> str:
    """Text as a literal of a Go template, between triple quotes."""
    return text.replace("{{", '{{ "{{" }}').replace('"""', '{{ "\\"\\"\\"" }}')
