"""Compares exports with their bundle: the largest difference of a probability, the share of equal outputs.

    python benchmarks/exports.py --model runs/mine --input test.jsonl --work runs/exports [--rows 200] [--written 20]

Each export is opened in its own runtime, by the code in its README.
"""

import argparse
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unskew.exporting import ExportSettings, export
from unskew.pipeline import HARMLESS_TEXT, HybridPipeline

ROW = "| {:<9} | {:<7} | {:>6} | {:>12} | {:>14} |"


def lines_of(folder: Path) -> str:
    """The Python code of an export's README, with names instead of its example."""
    readme = (folder / "README.md").read_text("utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL))
    code = code.replace(f"texts = [{json.dumps(HARMLESS_TEXT)}]", "texts = given")
    return re.sub(r"(?m)^text, topic = .*$", "text, topic = given", code)


def ask(folder: Path, rows: list[Any]) -> list[dict[str, Any]]:
    """The values of the README's names after each row; the loading code runs once."""
    code = lines_of(folder)
    loads, asks = code[: (cut := re.search(r"(?m)^(?=text, topic = given|texts = given)", code).start())], code[cut:]  # pyright: ignore[reportOptionalMemberAccess]
    before, values = Path.cwd(), {}
    os.chdir(folder)
    try:
        exec(loads, values)
        found = []
        for row in rows:
            values["given"] = row
            exec(asks, values)
            found.append({name: values[name] for name in ("log_p", "output") if name in values})
        return found
    finally:
        os.chdir(before)


def as_text(folder: Path, rows: list[tuple[str, str]]) -> list[str]:
    """The outputs of llama.cpp's chat, which gets strings."""
    code = lines_of(folder)
    values: dict[str, Any] = {}
    before = Path.cwd()
    os.chdir(folder)
    try:
        exec(code[: code.index("text, topic = given")], values)
        found = []
        for text, topic in rows:
            messages = [{"role": "system", "content": topic}, {"role": "user", "content": text}]
            asked = {"messages": messages, "max_tokens": values["described"]["max_new_tokens"], "temperature": 0}
            found.append(values["server"].handle_chat_completions(asked)["choices"][0]["message"]["content"].strip())
        return found
    finally:
        os.chdir(before)


def main() -> None:
    """Export, ask, compare, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--input", required=True, type=Path)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--written", type=int, default=20)
    options = parser.parse_args()
    texts = [json.loads(line)["text"] for line in options.input.read_text("utf-8").splitlines()][:: 700 // options.rows]
    system = HybridPipeline.from_pretrained(options.model, device="cpu")
    expected = system.probabilities(texts)
    print(ROW.format("export", "stage", "rows", "largest diff.", "equal"))
    for kind in ("onnx", "openvino"):
        export(options.model, str(options.work / kind), ExportSettings(kind), overwrite=True)
        [found] = ask(options.work / kind, [texts])
        probabilities = torch.from_numpy(np.exp(found["log_p"]))
        equal = (probabilities.argmax(1) == expected.argmax(1)).float().mean()
        difference = (probabilities - expected).abs().max()
        print(ROW.format(kind, "encoder", len(texts), f"{difference:.1g}", f"{equal:.1%}"), flush=True)
    step = max(1, len(texts) // options.written)
    chosen = [(text, system.topics.names[i]) for text, i in zip(texts, expected.argmax(1).tolist(), strict=True)][
        ::step
    ]
    outputs = system.write([text for text, _ in chosen], [topic for _, topic in chosen])
    for kind in ("merged", "gguf"):
        export(options.model, str(options.work / kind), ExportSettings(kind, stage="decoder"), overwrite=True)
        written = [found["output"] for found in ask(options.work / kind, chosen)]
        equal = np.mean([ours == theirs for ours, theirs in zip(outputs, written, strict=True)])
        print(ROW.format(kind, "decoder", len(chosen), "", f"{equal:.1%}"), flush=True)
    written = as_text(options.work / "gguf", chosen)
    equal = np.mean([ours == theirs for ours, theirs in zip(outputs, written, strict=True)])
    print(ROW.format("gguf text", "decoder", len(chosen), "", f"{equal:.1%}"))


if __name__ == "__main__":
    main()
