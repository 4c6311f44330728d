"""The types of results.json, and a check of results before a report is made. Knows no file."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, ValidationError, model_validator

from ..common import Artefact, Count, FormatNumber, JsonObject, Name, Share, UserError, first_problem

FORMAT = 1
Metrics = dict[str, float | None]
_METRICS = AliasChoices("metrics", "measures")  # the second name is read for one more version
Interval = Annotated[list[float | None], Field(min_length=2, max_length=2)]


class StoredTopics(Artefact):
    """The topics of the test rows."""

    names: list[Name] = Field(description="Topic names in the order of the other lists.")
    counts: list[Count] = Field(description="Clean training rows.")
    bands: list[Literal["many", "medium", "few"]] = Field(
        description="Band of each topic: many (over 100 training rows), medium (20 to 100) or few (under 20)."
    )
    true_shares: list[Share] = Field(description="Share of each topic in the test rows.")


class StoredMetric(Artefact):
    """Title, direction and group of a metric."""

    title: str = Field(description="Title in tables.")
    better: Literal["higher", "lower", "zero"] = Field(description="Which values are better.")
    group: Literal["topics", "outputs", "cost"] = Field(description="Group in tables.")


class StoredRun(Artefact):
    """A run of one arm with one seed."""

    seed: int = Field(description="Random seed of the run.")
    metrics: Metrics = Field(validation_alias=_METRICS, description="Metrics of the run, by name.")
    recall: dict[str, float | None] | None = Field(description="Recall by topic.")
    shares: dict[str, float] | None = Field(description="Predicted shares by topic.")
    reliability: list[list[float | None]] = Field(description="Confidence, accuracy and rows of each bin.")


class FinishedRun(Artefact):
    """runs/ARM-SEED-FINGERPRINT.json: a finished run, with the rows' values for resampling."""

    metrics: Metrics = Field(validation_alias=_METRICS)
    recall: dict[str, float | None] | None
    shares: dict[str, float] | None
    reliability: list[list[float | None]]
    decisions: list[Count] = Field(description="Topic index of each test row.")
    nll: list[Annotated[float, Field(allow_inf_nan=True)]] | None = Field(description="Loss of each test row in nats.")
    confidence: list[float] | None = Field(description="Of each test row.")
    rows: dict[str, list[float]] = Field(description="Metrics of each output.")
    outputs: list[str] | None


class StoredDifference(Artefact):
    """The difference of an arm to a reference arm in one metric."""

    difference: float | None = Field(description="Mean of the arm minus that of the reference.")
    interval: Interval | None = Field(default=None, description="95%.")
    p: Share | None = Field(default=None, description="Two-sided p.")
    p_corrected: Share | None = Field(default=None, description="p corrected over all arms (Holm 1979).")


class StoredArm(Artefact):
    """An arm."""

    name: Name = Field(description="Name of the arm.")
    title: str = Field(description="Title in tables.")
    group: str = Field(description="Group in tables.")
    note: str = Field(description="Note for readers.")
    runs: list[StoredRun] = Field(description="Runs by seed; empty if the arm was not run.")
    mean: Metrics = Field(description="Means over seeds by metric.")
    interval: dict[str, Interval | None] = Field(description="95%.")
    against: dict[str, dict[str, StoredDifference]] = Field(description="Differences by reference arm and metric.")


class StoredClaim(Artefact):
    """A claim with its verdict."""

    claim: str = Field(description="Claim in words.")
    verdict: str = Field(description="Verdict in words.")
    figure: str = Field(description="Figures behind the verdict.")


class StoredResults(Artefact):
    """results.json: the results of `unskew ablate`."""

    format: FormatNumber = Field(description="1. A reader refuses another number.")
    title: str = Field(description="Title of the report.")
    made: str = Field(description="Time of the run in ISO 8601.")
    command: str = Field(description="Command that made the results.")
    machine: str = Field(description="Description of the hardware.")
    versions: dict[str, str] = Field(description="Versions of the libraries.")
    budget: str = Field(description="Training rows, epochs and tokens, in words.")
    config: str = Field(description="Whole configuration as YAML.")
    topics: StoredTopics = Field(description="Topics of the test rows.")
    rows: dict[str, Count] = Field(description="Number of rows by set.")
    seeds: list[int] = Field(description="Random seeds.")
    metrics: dict[str, StoredMetric] = Field(validation_alias=_METRICS, description="Metrics of the tables, by name.")
    arms: list[StoredArm] = Field(description="Arms in the order of the tables.")
    reference_arms: list[str] = Field(description="Names of the arms that others are compared with.")
    primary: str = Field(description="Name of the primary metric.")
    headline: str = Field(description="Main finding in one sentence.")
    terms: list[str] = Field(default=[], description="Training data of each arm of the headline, if they differ.")
    claims: list[StoredClaim] = Field(description="Claims with their verdicts.")
    examples: list[JsonObject] = Field(description="Test rows on which arms differ, with their outputs.")

    @model_validator(mode="after")
    def _fits(self) -> "StoredResults":
        sizes = {len(self.topics.names), len(self.topics.counts), len(self.topics.bands), len(self.topics.true_shares)}
        if len(sizes) > 1:
            raise ValueError("topics: names, counts, bands and true_shares differ in length")
        if self.primary not in self.metrics:
            raise ValueError(f"primary: there is no metric {self.primary!r}")
        return self


def checked_results(results: Any) -> dict[str, Any]:
    """Results, just made or read from the file, after a check. Old names of fields are replaced.

    Raises:
        UserError: If they have another format or do not fit the definition; names the first wrong field.
    """
    found = results.get("format") if isinstance(results, Mapping) else None
    if found != FORMAT:
        raise UserError(
            f"results of format {found!r}, but this version reports format {FORMAT}; run the ablation again"
        )
    try:
        return StoredResults.model_validate(results).plain()
    except ValidationError as error:
        raise UserError(f"these are not results of an ablation: {first_problem(error)}; run it again") from error
