"""The types of comparison.json. Knows no file and measures nothing."""

from pydantic import Field

from ..common import Artefact, Count, FormatNumber, Name, Share


class ComparedMeasure(Artefact):
    """One measure of both runs."""

    name: Name
    a: float
    b: float
    difference: float = Field(description="b less a.")
    interval: list[float] = Field(min_length=2, max_length=2, description="95%, of the difference, over test rows.")
    p: Share | None = Field(description="Of accuracy, McNemar's exact test; null for the others.")
    told_apart: bool = Field(description="p under 0.05, or the interval leaves out 0.")


class ComparedTopic(Artefact):
    """One topic's recall in both runs."""

    topic: Name
    rows: Count = Field(description="With this true topic.")
    a: Share
    b: Share
    p: Share = Field(description="McNemar's exact test, corrected for the number of topics (Holm 1979).")


class Comparison(Artefact):
    """comparison.json: what `unskew compare` found."""

    format: FormatNumber = Field(default=1, description="1.")
    runs: list[str] = Field(min_length=2, max_length=2, description="a and b.")
    rows: Count
    right_in_one_alone: list[Count] = Field(
        min_length=2, max_length=2, description="Rows that a, and that b, has right alone."
    )
    measures: list[ComparedMeasure]
    topics: list[ComparedTopic] = Field(description="Most frequent first.")
