"""Metrics of outputs against their targets: ROUGE, chrF, and for slot frames the F1 of slots.

Knows texts, but no model. ROUGE and chrF come from maintained packages.
"""

import re
from collections import Counter
from collections.abc import Sequence

import sacrebleu
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer, Tokenizer

from ..decoder import are_slot_frames, parse_frame

_ROUGE = ("rouge1", "rouge2", "rougeL")


class _Words(Tokenizer):
    """The package's own tokens for words in ASCII, whatever is beside them; other words unchanged."""

    def __init__(self) -> None:
        self._english = DefaultTokenizer(use_stemmer=True)

    def tokenize(self, text: str) -> list[str]:
        """Split a text into the tokens that ROUGE compares."""
        words = re.findall(r"\w+", text.lower())
        return [token for word in words for token in (self._english.tokenize(word) if word.isascii() else [word])]


def score_texts(outputs: Sequence[str], targets: Sequence[str]) -> dict[str, float]:
    """ROUGE-1/2/L (mean F-measure over rows, 0 to 1, stemmed), corpus chrF (0 to 1), and the share of equal outputs.

    If all targets are slot frames, also `slot_f1`: F1 over the (name, value) pairs of all rows together.

    Sources: Lin 2004 as in the `rouge-score` package; Popovic 2015 as in `sacrebleu`.
    """
    scorer = RougeScorer(list(_ROUGE), tokenizer=_Words())
    scores = [scorer.score(target, output) for output, target in zip(outputs, targets, strict=True)]
    metrics = {name: sum(score[name].fmeasure for score in scores) / len(scores) for name in _ROUGE}
    metrics["chrf"] = sacrebleu.corpus_chrf(list(outputs), [list(targets)]).score / 100
    metrics["exact"] = sum(a.strip() == b.strip() for a, b in zip(outputs, targets, strict=True)) / len(scores)
    if are_slot_frames(targets):
        metrics["slot_f1"] = _slot_f1(outputs, targets)
    return metrics


def _slot_f1(outputs: Sequence[str], targets: Sequence[str]) -> float:
    written, wanted = ([Counter(parse_frame(text)) for text in texts] for texts in (outputs, targets))
    right = sum((own & its).total() for own, its in zip(written, wanted, strict=True))
    return 2 * right / max(1, sum(map(Counter.total, written)) + sum(map(Counter.total, wanted)))
