"""Fits SetFit and predicts texts; `real.py` runs it with an interpreter that has setfit.

    python benchmarks/setfit_peer.py BASE TRAIN.jsonl TEST.jsonl TOPICS.json OUTPUT.npz STEPS SEED

It uses SetFit's defaults except for the number of steps: all pairs of a few thousand rows would take hours on a CPU.
"""

import json
import sys
from pathlib import Path

import numpy as np
from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments


def main(base: str, train: str, test: str, topics: str, output: str, steps: str, seed: str) -> None:
    """Write log-probabilities (n, C), in the order of the topics, under the shares of the training rows."""
    names = json.loads(Path(topics).read_text("utf-8"))
    rows, asked = ([json.loads(line) for line in Path(path).read_text("utf-8").splitlines()] for path in (train, test))
    texts = [row["text"] for row in rows]
    labels = [names.index(row["topic"]) for row in rows]
    model = SetFitModel.from_pretrained(base, device="cpu")
    place = str(Path(output).with_suffix(""))  # not the folder that this was started in
    given = TrainingArguments(place, max_steps=int(steps), seed=int(seed), report_to="none")
    Trainer(model=model, args=given, train_dataset=Dataset.from_dict({"text": texts, "label": labels})).train()
    said = np.asarray(model.predict_proba([row["text"] for row in asked], as_numpy=True))
    scores = np.full((len(asked), len(names)), np.log(1e-12))
    scores[:, np.asarray(model.model_head.classes_)] = np.log(said.clip(1e-12))
    np.savez_compressed(output, scores=scores)


if __name__ == "__main__":
    main(*sys.argv[1:])
