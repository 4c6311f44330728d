"""The README of an exported folder: the code that loads and uses it. Knows descriptions; runs nothing."""

from collections.abc import Mapping
from typing import Any

from ..common import markdown_text
from ..pipeline import HARMLESS_TEXT
from .settings import ExportFormat

_LOAD = {
    "onnx": """\
import json, numpy as np, onnxruntime, tokenizers
tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")
session = onnxruntime.InferenceSession("model.onnx")
described = json.load(open("unskew_export.json"))["encoder"]""",
    "openvino": """\
import json, numpy as np, openvino, tokenizers
tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")
model = openvino.Core().compile_model("openvino_model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
described = json.load(open("unskew_export.json"))["encoder"]""",
    "gguf": """\
import json, tokenizers, xllamacpp
tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")
options = xllamacpp.CommonParams()
options.model.path, options.n_ctx = "model.gguf", %d
server = xllamacpp.Server(options)
described = json.load(open("unskew_export.json"))["decoder"]""",
    "encoder": """\
import json, torch, transformers
tokenizer = transformers.AutoTokenizer.from_pretrained("encoder")
encoder = transformers.AutoModelForSequenceClassification.from_pretrained("encoder")
described = json.load(open("unskew_export.json"))["encoder"]""",
    "decoder": """\
import json, torch, transformers
tokenizer = transformers.AutoTokenizer.from_pretrained("decoder")
decoder = transformers.AutoModelForCausalLM.from_pretrained("decoder")
described = json.load(open("unskew_export.json"))["decoder"]""",
}
_ROWS = f"""\
texts = ["{HARMLESS_TEXT}"]
tokenizer.encode_special_tokens = True  # a control string in a text is plain characters
rows = tokenizer.encode_batch([text.lstrip() for text in texts])
inputs = {{name: np.array([getattr(row, its) for row in rows], dtype=np.int64)
          for name, its in (("input_ids", "ids"), ("attention_mask", "attention_mask"))}}
"""
_RUN = {
    "onnx": '[log_p] = session.run(["log_probabilities"], inputs)\n',
    "openvino": 'log_p = model(inputs)["log_probabilities"]\n',
}
_WRITE = f"""\
text, topic = "{HARMLESS_TEXT}", TOPIC
ids = {{ids}}[: described["text_tokens"]]
prompt = described["before"] + ids + described["after"] + described["topics"][topic]
"""
_GGUF = """\
never = [[token, False] for token in described["never_written"]]
asked = {"prompt": prompt, "max_tokens": described["max_new_tokens"], "temperature": 0, "logit_bias": never}
output = server.handle_completions(asked)["choices"][0]["text"].strip()
"""
_MERGED = """\
written = decoder.generate(torch.tensor([prompt]))[0, len(prompt):]
output = tokenizer.decode(written, skip_special_tokens=True).strip()
"""
_TITLES = {
    "merged": "Plain transformers folders",
    "onnx": "The encoder for ONNX Runtime",
    "openvino": "The encoder for OpenVINO",
    "gguf": "The decoder for llama.cpp and Ollama",
}


def readme(kind: ExportFormat, described: Mapping[str, Any]) -> str:
    """Markdown whose Python blocks run inside the folder."""
    parts = [f"# {_TITLES[kind]}, exported by unskew {described['unskew']}", *_about(kind, described)]
    match kind:
        case "onnx" | "openvino":
            parts += [
                "## Load",
                _block(_LOAD[kind]),
                "## Ask",
                _block(_ROWS + _RUN[kind] + _decide(described["encoder"])),
            ]
            parts += _probabilities(described["encoder"])
        case "gguf":
            parts += _gguf(described["decoder"])
        case "merged":
            if "encoder" in described:
                parts += ["## The encoder", _block(_LOAD["encoder"]), _RAW]
            if "decoder" in described:
                ids = 'tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]'
                written = _asked(described["decoder"], ids) + _MERGED
                parts += ["## The decoder", _block(_LOAD["decoder"]), _block(written)]
    return "\n\n".join(parts) + "\n"


_RAW = (
    "Its softmax is neither calibrated nor right for the target prior: `described` has the numbers (model_prior, "
    "calibration, target_prior), and an export as onnx or openvino applies them in its graph."
)


_COSTS = """\
number = {topic: i for i, topic in enumerate(described["topics"])}
costs = 1 - np.eye(len(number))  # what a decision costs, at [true, decided]
for true, row in described["decision"]["settings"]["costs"].items():
    for topic, cost in row.items():
        costs[number[true], number[topic]] = cost
decided = (np.exp(log_p) @ costs).argmin(1)
"""


def _about(kind: ExportFormat, described: Mapping[str, Any]) -> list[str]:
    topics = list(described.get("encoder", described.get("decoder"))["topics"])
    named = ", ".join(markdown_text(name) for name in topics[:50]) + (", ..." if len(topics) > 50 else "")
    about = [f"{len(topics)} topics: {named}."]
    if kind == "gguf":
        about.append("The decoder needs a topic: run the encoder first (`unskew export --format onnx`).")
    about.append("`unskew_export.json` has what the weights lack: topics, prompt, priors, calibration.")
    return about


def _probabilities(encoder: Mapping[str, Any]) -> list[str]:
    return [
        "The graph contains calibration and target prior: `log_probabilities` are those of the bundle under "
        '`described["target_prior"]`; for other shares add `log(new / old)` and normalise again. `logits` are the '
        f"classifier's own. Texts are cut at {encoder['max_tokens']} tokens.",
    ]


def _decide(encoder: Mapping[str, Any]) -> str:
    decision = encoder["decision"] or {}
    if decision.get("settings", {}).get("costs"):
        chosen = _COSTS
    elif decision.get("offsets"):
        chosen = 'decided = (log_p + np.array(described["decision"]["offsets"])).argmax(1)\n'
    else:
        chosen = "decided = log_p.argmax(1)\n"
    confidence = "confidence = np.exp(log_p)[np.arange(len(texts)), decided]\n"
    if not decision.get("least"):
        return chosen + confidence + 'topics = [described["topics"][i] for i in decided]'
    return (
        chosen
        + confidence
        + 'sure = confidence >= np.array(described["decision"]["least"])[decided]\n'
        + 'topics = [described["topics"][i] if its else None for i, its in zip(decided, sure)]  # None: undecided'
    )


def _asked(decoder: Mapping[str, Any], ids: str) -> str:
    return _WRITE.replace("TOPIC", repr(next(iter(decoder["topics"])))).replace("{ids}", ids)


def _gguf(decoder: Mapping[str, Any]) -> list[str]:
    room = len(decoder["before"]) + len(decoder["after"]) + decoder["text_tokens"] + decoder["max_new_tokens"] + 64
    exact = "tokenizer.encode_special_tokens = True  # a control string in a text is plain characters\n"
    asked = exact + _asked(decoder, "tokenizer.encode(text, add_special_tokens=False).ids") + _GGUF
    system = '{"model": "mine", "system": "TOPIC", "prompt": "TEXT", "stream": false}'
    return [
        "## As tokens",
        "This uses [xllamacpp](https://pypi.org/project/xllamacpp/), a wheel of llama.cpp with its server; "
        "`llama-server` and llama-cpp-python take the same list of tokens.",
        _block(_LOAD["gguf"] % room),
        _block(asked),
        "## As text: Ollama, llama.cpp",
        _block(
            "ollama create mine -f Modelfile\n"
            f"curl http://localhost:11434/api/generate -d '{system}'\n"
            "llama-server -m model.gguf --jinja  # or: the system message is the topic, the user's the text",
            "bash",
        ),
        "Weights are float32: `ollama create mine -f Modelfile --quantize q8_0`, or llama.cpp's `llama-quantize`, "
        "makes them smaller.",
        "Here prompt and text are tokenised together, which differs slightly from training, and a control string in a "
        "text is read as the control token. Give only texts that you trust, or tokens as above.",
    ]


def _block(code: str, language: str = "python") -> str:
    return f"```{language}\n{code.rstrip()}\n```"
