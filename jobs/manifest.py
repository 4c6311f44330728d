"""What job.json and the records of finished shards hold, as types. Knows no file."""

from typing import Any

from pydantic import Field, model_validator

from ..common import Artefact, Count, FormatNumber, JsonObject, Name, Sha256, Share


class InputPart(Artefact):
    """A file or a dataset of the hub, as the job found it."""

    file: Name | None = Field(default=None, description="Of a file: its path.")
    bytes: Count | None = Field(default=None, description="Of a file.")
    sha256: Sha256 | None = Field(default=None, description="Of a file.")
    address: Name | None = Field(default=None, description="Of a dataset: its hf:// address.")
    revision: str | None = Field(default=None, description="Of a dataset: its commit, or a fingerprint of its folder.")

    @model_validator(mode="after")
    def _named(self) -> "InputPart":
        if not (self.file or self.address):
            raise ValueError("needs a file or an address")
        return self


class Plan(Artefact):
    """All that the results depend on; a run with another plan does not go on. Further fields describe the system."""

    input: list[InputPart] = Field(description="In the order they are read.")
    settings: JsonObject = Field(description="The options that change a byte of the results.")


class EstimatedPrior(Artefact):
    """The target prior that was estimated from the rows."""

    shares: dict[Name, Share] = Field(description="By topic.")
    said: str = Field(description="The same in words.")


class ShardRecord(Artefact):
    """done/part-NNNNN.json: a finished shard. Written after the shard's own files."""

    index: Count = Field(description="From 0.")
    rows: Count = Field(description="Rows with a result.")
    errors: Count = Field(description="Rows that could not be processed.")
    first_bad: str | None = Field(description="Place and reason of the first of them.")
    bytes: Count = Field(description="Of part-NNNNN.jsonl or .parquet.")
    sha256: Sha256 = Field(description="Of the same file.")
    error_bytes: Count = Field(description="Of errors/part-NNNNN.jsonl; 0 where there is none.")
    plan: Sha256 | None = Field(
        default=None, description="Fingerprint of the plan it was made under: under another it does not count."
    )


class Finished(Artefact):
    """What a finished job has written."""

    rows: Count = Field(description="Rows with a result.")
    errors: Count = Field(description="Rows that could not be processed.")
    first_bad: str | None = Field(description="Place and reason of the first of them.")
    bytes: Count | None = Field(default=None, description="Of the output, where it is one file.")
    sha256: Sha256 | None = Field(default=None, description="Of the output, where it is one file.")


class JobManifest(Artefact):
    """job.json, the manifest of a job: written first, and again at its end."""

    format: FormatNumber = Field(description="1. A reader refuses a higher number.")
    plan: Plan
    shard_rows: int = Field(ge=1, le=2**53, description="Input rows of a shard.")
    prior: EstimatedPrior | None = Field(default=None, description="null unless the target prior is estimated.")
    joining: bool = Field(default=False, description="Whether an output that exists is this job's.")
    finished: Finished | None = Field(default=None, description="null until the job has ended.")
    shards: list[ShardRecord] = Field(default=[], description="The shards of a finished job.")

    def plain(self) -> dict[str, Any]:
        """As the base class, with null for what an unfinished job does not have."""
        return {"prior": None, "finished": None, **super().plain()}
