"""How good written outputs are: ROUGE and chrF against the targets, and whether an output fits its topic.

Knows texts and topic names; no model of ours. The measures are maintained packages', nothing is rewritten here.
"""

import re
from collections.abc import Sequence

import sacrebleu
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer, Tokenizer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

_ROUGE = ("rouge1", "rouge2", "rougeL")


class _Words(Tokenizer):
    """The package's own words where they are English, and words of any other script as they are."""

    def __init__(self) -> None:
        self._english = DefaultTokenizer(use_stemmer=True)

    def tokenize(self, text: str) -> list[str]:
        """Split a text into what ROUGE compares."""
        return self._english.tokenize(text) if text.isascii() else re.findall(r"\w+", text.lower())


def text_measures(outputs: Sequence[str], targets: Sequence[str]) -> dict[str, float]:
    """ROUGE-1/2/L (mean F-measure over rows, 0 to 1, stemmed) and corpus chrF (0 to 1).

    Sources: Lin 2004 as in the `rouge-score` package; Popovic 2015 as in `sacrebleu`.
    """
    scorer = RougeScorer(list(_ROUGE), tokenizer=_Words())
    scores = [scorer.score(target, output) for output, target in zip(outputs, targets, strict=True)]
    measures = {name: sum(score[name].fmeasure for score in scores) / len(scores) for name in _ROUGE}
    measures["chrf"] = sacrebleu.corpus_chrf(list(outputs), [list(targets)]).score / 100
    measures["exact"] = sum(a.strip() == b.strip() for a, b in zip(outputs, targets, strict=True)) / len(scores)
    return measures


class TopicJudge:
    """Says of a written output which topic it reads like: TF-IDF and a balanced logistic regression.

    Independent of the system it judges: it has seen the training targets and their topics, no text and no output.
    """

    def __init__(self) -> None:
        self._model: Pipeline = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            LogisticRegression(class_weight="balanced", max_iter=1000, C=10),
        )

    def fit(self, targets: Sequence[str], topics: Sequence[str]) -> "TopicJudge":
        """Learn which words mark which topic's targets."""
        self._model.fit(list(targets), list(topics))
        return self

    def fit_share(self, outputs: Sequence[str], topics: Sequence[str]) -> float:
        """Share of the outputs that read like the topic they were written for."""
        read = self._model.predict(list(outputs))
        return float((read == list(topics)).mean())
