"""Written texts, sorted into those kept and those rejected, with why. Knows a bundle, a writer and texts; no file."""

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
    """Asks a writer for texts, and keeps those that a pipeline agrees with and that are like no other.

    Args:
        pipeline: Right for a uniform prior: a rare topic is not to be doubted for being rare.
        generator: Generator of the texts.
        records: The rows that may be paraphrased.
        duplicates: Holds every text that none may be like; the kept ones are added.
        settings: Settings of the filter.
        options: How texts are written.
        model: What the rows say they come from.
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
        """Write what is missing and sort it, again for what then still is, at most so many times."""
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
        """The encoder's probabilities (n, C); a blank text is of no topic."""
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
            "reason": reason or "the encoder agrees, and no row is like it",
        }
        if reason is not None:
            result.rejected.append(row)
            return
        tally.kept += 1
        result.kept.append(row)
        self._duplicates.add(name, candidate.text)

    def _rejection_reason(self, tally: TopicCounts, text: str, confidence: float) -> str | None:
        """Why a text is not kept; None if it is."""
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
