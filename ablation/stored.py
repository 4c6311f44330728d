"""The types of results.json, and a check of results before a report is made. Knows no file."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from ..common import Artefact, Count, FormatNumber, JsonObject, Name, Share, UserError, first_problem

FORMAT = 1
Measures = dict[str, float | None]
Interval = Annotated[list[float | None], Field(min_length=2, max_length=2)]


class StoredTopics(Artefact):
    """The topics of the test rows."""

    names: list[Name]
    counts: list[Count] = Field(description="Clean training rows.")
    bands: list[Literal["many", "medium", "few"]] = Field(description="Over 100, 20 to 100, under 20 of them.")
    true_shares: list[Share] = Field(description="Of the test rows.")


class StoredMeasure(Artefact):
    """How a measure is shown."""

    title: str
    better: Literal["higher", "lower", "zero"] = Field(description="Which values are better.")
    group: Literal["topics", "outputs", "cost"]


class StoredRun(Artefact):
    """One arm with one seed."""

    seed: int
    measures: Measures
    recall: dict[str, float | None] | None = Field(description="By topic.")
    shares: dict[str, float] | None = Field(description="Predicted shares by topic.")
    reliability: list[list[float | None]] = Field(description="Confidence, accuracy and rows of each bin.")


class FinishedRun(Artefact):
    """runs/ARM-SEED-FINGERPRINT.json: one run, with what resampling needs."""

    measures: Measures
    recall: dict[str, float | None] | None
    shares: dict[str, float] | None
    reliability: list[list[float | None]]
    decisions: list[Count] = Field(description="Topic index of each test row.")
    nll: list[Annotated[float, Field(allow_inf_nan=True)]] | None = Field(description="Of each test row, in nats.")
    confidence: list[float] | None = Field(description="Of each test row.")
    rows: dict[str, list[float]] = Field(description="Measures of each output.")
    outputs: list[str] | None


class StoredDifference(Artefact):
    """An arm against a reference arm, in one measure."""

    difference: float | None
    interval: Interval | None = Field(default=None, description="95%.")
    p: Share | None = Field(default=None, description="Of no difference.")
    p_corrected: Share | None = Field(default=None, description="By Holm over all arms.")


class StoredArm(Artefact):
    """One arm."""

    name: Name
    title: str
    group: str
    note: str
    runs: list[StoredRun] = Field(description="Empty where the arm was not run.")
    mean: Measures = Field(description="Over seeds.")
    interval: dict[str, Interval | None] = Field(description="95%.")
    against: dict[str, dict[str, StoredDifference]] = Field(description="By reference arm and measure.")


class StoredClaim(Artefact):
    """A claim and what the figures say of it."""

    claim: str
    verdict: str
    figure: str


class StoredResults(Artefact):
    """results.json: what `unskew ablate` found."""

    format: FormatNumber = Field(description="1. A reader refuses another number.")
    title: str
    made: str = Field(description="When, in ISO 8601.")
    command: str
    machine: str
    versions: dict[str, str]
    budget: str
    config: str = Field(description="The whole configuration, as YAML.")
    topics: StoredTopics
    rows: dict[str, Count] = Field(description="Sizes of the sets.")
    seeds: list[int]
    measures: dict[str, StoredMeasure]
    arms: list[StoredArm]
    reference_arms: list[str]
    primary: str = Field(description="The measure that decides.")
    headline: str
    terms: list[str] = Field(default=[], description="What each arm of the headline learnt from, where that differs.")
    claims: list[StoredClaim]
    examples: list[JsonObject]

    @model_validator(mode="after")
    def _fits(self) -> "StoredResults":
        sizes = {len(self.topics.names), len(self.topics.counts), len(self.topics.bands), len(self.topics.true_shares)}
        if len(sizes) > 1:
            raise ValueError("topics: names, counts, bands and true_shares differ in length")
        if self.primary not in self.measures:
            raise ValueError(f"primary: there is no measure {self.primary!r}")
        return self


def check_results(results: Any) -> None:
    """Check results, just made or read from the file.

    Raises:
        UserError: If they have another format or do not fit the definition; names the first wrong field.
    """
    found = results.get("format") if isinstance(results, Mapping) else None
    if found != FORMAT:
        raise UserError(
            f"results of format {found!r}, but this version reports format {FORMAT}; run the ablation again"
        )
    try:
        StoredResults.model_validate(results)
    except ValidationError as error:
        raise UserError(f"these are no results of an ablation: {first_problem(error)}; run it again") from error
