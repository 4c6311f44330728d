"""The types of comparison.json. Knows no file and measures nothing."""

from pydantic import Field

from ..common import Artefact, Count, FormatNumber, Name, Share


class ComparedMetric(Artefact):
    """One metric of both runs."""

    name: Name = Field(description="Name of the metric.")
    a: float = Field(description="Value in run a.")
    b: float = Field(description="Value in run b.")
    difference: float = Field(description="b less a.")
    interval: list[float] = Field(
        min_length=2, max_length=2, description="95% interval of the difference, over test rows."
    )
    p: Share | None = Field(description="p of McNemar's exact test for accuracy; null for other metrics.")
    significant: bool = Field(description="Whether p is under 0.05, or the interval excludes 0.")


class ComparedTopic(Artefact):
    """One topic's recall in both runs."""

    topic: Name = Field(description="Name of the topic.")
    rows: Count = Field(description="Rows with this true topic.")
    a: Share = Field(description="Recall in run a.")
    b: Share = Field(description="Recall in run b.")
    p: Share = Field(description="p of McNemar's exact test, corrected for the number of topics (Holm 1979).")


class Comparison(Artefact):
    """comparison.json: the result of `unskew compare`."""

    format: FormatNumber = Field(default=1, description="1.")
    runs: list[str] = Field(min_length=2, max_length=2, description="a and b.")
    rows: Count = Field(description="Test rows of both runs.")
    right_in_one_alone: list[Count] = Field(
        min_length=2, max_length=2, description="Rows that only a has right, and rows that only b has right."
    )
    metrics: list[ComparedMetric] = Field(description="Metrics of both runs with their differences.")
    topics: list[ComparedTopic] = Field(description="Most frequent first.")

    @property
    def surest_topics(self) -> list[ComparedTopic]:
        """The topics, the surest difference first."""
        return sorted(self.topics, key=lambda its: (its.p, -abs(its.b - its.a)))

    @property
    def verdict(self) -> str:
        """The finding in a sentence."""
        accuracy = next(its for its in self.metrics if its.name == "accuracy")
        alone = f"a alone is right in {self.right_in_one_alone[0]:,} rows, b alone in {self.right_in_one_alone[1]:,}"
        if not accuracy.significant:
            return f"No significant difference in accuracy: {alone} (p = {accuracy.p:.2g}); other seeds may differ."
        better = "b" if accuracy.difference > 0 else "a"
        return f"{better} is the more accurate: {alone} (p = {accuracy.p:.2g}); other seeds may differ."
