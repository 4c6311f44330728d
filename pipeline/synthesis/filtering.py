"""Sorts written texts into kept and rejected ones, with reasons. Knows a bundle, a generator and texts; no file."""

from collections import defaultdict
from collections.abc import Sequence

from ...common import track
from ...corpus import NearDuplicates, Record
from ...decoder import GenerationSettings, TopicDecoder
from ..hybrid import HybridPipeline
from .results import Synthesis, TopicCounts
from .settings import FilterSettings
from .text_generator import Candidate, write_candidates


class SyntheticFilter:
    """Asks a generator for texts, and keeps those whose topic the pipeline confirms and that are unlike all others.

    Args:
        pipeline: System for a uniform prior, so that a rare topic is not doubted for being rare.
        generator: Generator of the texts.
        records: Rows that may be paraphrased.
        duplicates: Index of the texts that new ones must not be like; kept texts are added.
        settings: Settings of the filter.
        options: Settings of generation.
        model: Name of the model in the rows.
    """

    def __init__(
        self,
        pipeline: HybridPipeline,
        generator: TopicDecoder,
        records: Sequence[Record],
        duplicates: NearDuplicates,
        settings: FilterSettings,
        options: GenerationSettings,
        model: str,
    ) -> None:
        self._pipeline, self._writer, self._duplicates = pipeline, generator, duplicates
        self._settings, self._options, self._model = settings, options, model
        self._records: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            self._records[str(record.topic)].append(record)

    def fill(self, result: Synthesis, attempts: int) -> None:
        """Write and filter missing rows, and repeat for those still missing, at most `attempts` times."""
        for attempt in range(1, attempts + 1):
            if result.missing:
                self._attempt(result, attempt)

    def _attempt(self, result: Synthesis, attempt: int) -> None:
        numbers = {
            topic: range(result.tallies[topic].written, result.tallies[topic].written + count)
            for topic, count in result.missing.items()
        }
        total = sum(len(own) for own in numbers.values())
        written = write_candidates(self._writer, numbers, self._records, self._options)
        found = list(track(written, f"write, attempt {attempt}", total))
        probabilities = self._judge([candidate.text for candidate in found])
        for candidate, row in zip(found, probabilities, strict=True):
            self._sort(result, candidate, row[self._pipeline.topics.index(candidate.topic)])

    def _judge(self, texts: Sequence[str]) -> list[list[float]]:
        """The encoder's probabilities (n, C); all 0 for a blank text."""
        nothing = [0.0] * len(self._pipeline.topics)
        whole = [text for text in texts if text.strip()]
        judged = iter(self._pipeline.probabilities(whole).tolist() if whole else [])
        return [next(judged) if text.strip() else nothing for text in texts]

    def _sort(self, result: Synthesis, candidate: Candidate, confidence: float) -> None:
        tally = result.tallies[candidate.topic]
        number = sum(own.written for own in result.tallies.values())
        tally.written += 1
        name = f"synthetic-{self._options.seed}-{number}"
        reason = self._rejection_reason(tally, candidate.text, confidence)
        row = {
            "id": name,
            "text": candidate.text,
            "topic": candidate.topic,
            "target": None,
            "source": candidate.source,
            "paraphrase_of": candidate.paraphrase_of,
            "confidence": round(confidence, 4),
            "seed": self._options.seed,
            "model": self._model,
            "reason": reason or "the encoder agrees, and no other row is similar",
        }
        if reason is not None:
            result.rejected.append(row)
            return
        tally.kept += 1
        result.kept.append(row)
        self._duplicates.add(name, candidate.text)

    def _rejection_reason(self, tally: TopicCounts, text: str, confidence: float) -> str | None:
        """The reason why a text is rejected; None if it is kept."""
        if len(text.split()) < self._settings.min_words:
            return "too short"
        if confidence < self._settings.agreement:
            return "the encoder does not agree"
        tally.agreed += 1
        twin = self._duplicates.like(text)
        if twin is None:
            return None
        tally.duplicates += 1
        return f"a near-duplicate of {twin}"
