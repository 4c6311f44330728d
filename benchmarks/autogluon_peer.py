"""Fits AutoGluon's MultiModalPredictor and predicts texts; `real.py` runs it with an interpreter that has it.

    python benchmarks/autogluon_peer.py BASE TRAIN.jsonl TEST.jsonl TOPICS.json OUTPUT.npz SEED

It uses the defaults for text, except for the base. Needs `pip install autogluon.multimodal`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from autogluon.multimodal import MultiModalPredictor


def main(base: str, train: str, test: str, topics: str, output: str, seed: str) -> None:
    """Write log-probabilities (n, C), in the order of the topics, under the shares of the training rows."""
    names = json.loads(Path(topics).read_text("utf-8"))
    lines = (Path(path).read_text("utf-8").splitlines() for path in (train, test))
    rows, asked = (pd.DataFrame([json.loads(line) for line in own]) for own in lines)
    model = MultiModalPredictor(label="topic", problem_type="multiclass", path=str(Path(output).with_suffix("")))
    given = {"model.names": ["hf_text"], "model.hf_text.checkpoint_name": base, "env.num_gpus": 0}
    given |= {"env.num_workers": 0, "env.num_workers_inference": 0}
    model.fit(rows[["text", "topic"]], hyperparameters=given, seed=int(seed))
    said = model.predict_proba(asked[["text"]])
    scores = np.full((len(asked), len(names)), np.log(1e-12))
    scores[:, [names.index(topic) for topic in said.columns]] = np.log(said.to_numpy().clip(1e-12))
    np.savez_compressed(output, scores=scores)


if __name__ == "__main__":
    main(*sys.argv[1:])
