"""Measures a cascade for topics: a cheap classifier first, then the encoder for the rows that it is unsure about.

    OMP_NUM_THREADS=1 python benchmarks/cascade.py --model BUNDLE --train FILE --test FILE

The cheap classifier is a logistic regression on TF-IDF of words and pairs of words. It answers alone if its confidence
is above a threshold: the lowest at which it was right for a given share of the training rows, in five folds. A probe
cannot be the first stage, because its features cost a whole pass of an encoder of the same size. Seconds are processor
time.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

from unskew.corpus import load_usable
from unskew.pipeline import HybridPipeline

RIGHT = (0.95, 0.98, 0.99)  # wanted accuracies of the rows that the cheap classifier answers


def clock(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds, and what was returned."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def threshold(confidence: np.ndarray, right: np.ndarray, share: float) -> float:
    """The lowest confidence above which at least that share is right; 2 if there is none."""
    order = np.argsort(-confidence)
    good = np.flatnonzero(np.cumsum(right[order]) / np.arange(1, len(order) + 1) >= share)
    return float(confidence[order][good[-1]]) if len(good) else 2.0


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a bundle")
    parser.add_argument("--train", required=True)
    parser.add_argument("--test", required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    (texts, labels), (asked, truth) = (
        zip(*((row.text, str(row.topic)) for row in load_usable(file)[0]), strict=True)
        for file in (given.train, given.test)
    )
    cheap = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=30, class_weight="balanced", max_iter=200),
    )
    shares: Any = cross_val_predict(cheap, texts, labels, cv=5, method="predict_proba")
    names = np.array(sorted(set(labels)))
    right = names[shares.argmax(1)] == np.array(labels)
    cheap.fit(texts, labels)
    pipe = HybridPipeline.from_pretrained(given.model, "cpu", with_decoder=False).with_target_prior("uniform")
    encoder_seconds, decided = clock(lambda: [result.topic for result in pipe(asked)])
    cheap_seconds, found = clock(lambda: cheap.predict_proba(asked))
    print("| right where sure | sure of | accuracy | macro-F1 | time, encoder alone = 1 |\n|---|---|---|---|---|")
    for share in (None, *RIGHT):
        limit = 2.0 if share is None else threshold(shares.max(1), right, share)
        sure = found.max(1) >= limit
        topics = np.where(sure, names[found.argmax(1)], decided)
        cost = 1 - sure.mean() + (0 if share is None else cheap_seconds / encoder_seconds)
        score = f1_score(truth, topics, average="macro")
        accuracy = (topics == np.array(truth)).mean()
        print(f"| {share or 'encoder alone'} | {sure.mean():.1%} | {accuracy:.3f} | {score:.3f} | {cost:.2f} |")


if __name__ == "__main__":
    main()
