"""The peer of `unskew serve` in `serving.py`: a plain FastAPI app around transformers' two pipelines.

python benchmarks/serving_plain.py FOLDER PORT

FOLDER has `encoder/`, a plain `decoder/` if outputs are written, and `plain.json`: the prompt around a text, each
topic's token, and the number of tokens to generate. A pipeline's tokenizer must not be used by two threads at once, so
requests take turns behind one lock.
"""

import json
import sys
from pathlib import Path
from threading import Lock
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline


class Text(BaseModel):
    """A request."""

    text: str


def make_app(folder: Path) -> FastAPI:
    """One route, one text a request."""
    given = json.loads((folder / "plain.json").read_text())
    classify: Any = pipeline("text-classification", str(folder / "encoder"), device="cpu")
    write = writer(folder / "decoder", given["new_tokens"]) if given["new_tokens"] else None
    app, turn = FastAPI(), Lock()

    @app.post("/predict")
    def predict(asked: Text) -> dict[str, Any]:
        with turn:
            [best] = classify([asked.text], truncation=True)
            if write is None:
                return {"topic": best["label"], "confidence": best["score"], "output": None}
            mark = given["marks"][best["label"]]
            [answer] = write(f"{given['before']}{asked.text}{given['after']}{mark}")
            return {"topic": best["label"], "confidence": best["score"], "output": answer["generated_text"].strip()}

    return app


def writer(folder: Path, new_tokens: int) -> Any:
    """The text-generation pipeline, greedy."""
    made: Any = pipeline(
        "text-generation",
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        tokenizer=AutoTokenizer.from_pretrained(folder, padding_side="left"),
        device="cpu",
    )
    return lambda prompt: made(prompt, max_new_tokens=new_tokens, do_sample=False, return_full_text=False)


if __name__ == "__main__":
    uvicorn.run(make_app(Path(sys.argv[1])), port=int(sys.argv[2]), log_level="warning", access_log=False)
