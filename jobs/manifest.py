"""What job.json and the records of finished shards hold, as types. Knows no file."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from ..common import Artefact, Count, FormatNumber, JsonObject, Name, Sha256, Share

Seconds = Annotated[float, Field(ge=0, description="Seconds.")]
Rate = Annotated[float, Field(ge=0)] | None


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
    intervals: dict[Name, tuple[Share, Share]] = Field(
        default={}, description="About 95% of each share; empty where no held-out rows show the classifier's errors."
    )
    said: str = Field(description="The same in words.")


class StageUsage(Artefact):
    """What a stage did for a shard."""

    rows: Count = Field(description="Texts.")
    tokens_read: Count = Field(description="Of prompts and texts, padding apart.")
    tokens_written: Count = Field(description="Of outputs.")
    seconds: Seconds = Field(description="At work.")


class ShardCost(Artefact):
    """What a shard cost the process that answered it."""

    seconds: Seconds = Field(description="From its first row to its last.")
    stages: dict[str, StageUsage] = Field(description="encoder and decoder.")
    memory: Count = Field(description="The most bytes that the process has held so far.")
    gpu_memory: Count | None = Field(description="The same of its GPU; null without one.")


class ShardRecord(Artefact):
    """done/part-NNNNN.json: a finished shard. Written after the shard's own files."""

    index: Count = Field(description="From 0.")
    rows: Count = Field(description="Rows with a result.")
    errors: Count = Field(description="Rows that could not be processed.")
    first_bad: str | None = Field(description="Place and reason of the first of them.")
    bytes: Count = Field(description="Of part-NNNNN, the result rows.")
    sha256: Sha256 = Field(description="Of the same file.")
    error_bytes: Count = Field(description="Of errors/part-NNNNN.jsonl; 0 where there is none.")
    plan: Sha256 | None = Field(
        default=None, description="Fingerprint of the plan it was made under: under another it does not count."
    )
    topics: dict[Name, Count] = Field(default={}, description="Rows of each most probable topic; not in job.json.")
    undecided: Count = Field(default=0, description="Rows without a topic; not in job.json.")
    cost: ShardCost | None = Field(default=None, description="Absent where it is not known; not in job.json.")


class Finished(Artefact):
    """What a finished job has written."""

    rows: Count = Field(description="Rows with a result.")
    errors: Count = Field(description="Rows that could not be processed.")
    first_bad: str | None = Field(description="Place and reason of the first of them.")
    bytes: Count | None = Field(default=None, description="Of the output, where it is one file.")
    sha256: Sha256 | None = Field(default=None, description="Of the output, where it is one file.")


class StageReport(StageUsage):
    """What a stage did in a job, over all workers."""

    rows_per_second: Rate = Field(description="Of one worker.")
    tokens_per_second: Rate = Field(description="Read and written, of one worker.")


class TopicReport(Artefact):
    """One topic among the results, as the most probable one, decided for or not."""

    rows: Count
    share: Share | None = Field(description="Of the rows with a result; null without any.")
    training_share: Share | None = Field(description="Of the clean training rows.")


class Report(Artefact):
    """What a job did and what it cost; input_rows = output_rows + error_rows."""

    input_rows: Count = Field(description="Rows that were read.")
    output_rows: Count = Field(description="Rows with a result.")
    error_rows: Count = Field(description="Rows that could not be processed.")
    undecided_rows: Count = Field(description="Rows with a result without a topic.")
    seconds: Seconds = Field(description="At work on shards, the sum over workers and interrupted runs.")
    rows_per_second: Rate = Field(description="Of one worker.")
    stages: dict[str, StageReport] = Field(description="encoder and decoder, where they count.")
    peak_memory: Count = Field(description="The most bytes that a process held.")
    peak_gpu_memory: Count | None = Field(description="The most bytes that a process held on a GPU; null without one.")
    topics: dict[Name, TopicReport] = Field(description="All topics of the system.")
    shift: Share | None = Field(
        description="Half the sum of the absolute differences of share and training_share: 0 where they agree."
    )


class JobManifest(Artefact):
    """job.json, the manifest of a job: written first, and again at its end."""

    format: FormatNumber = Field(description="1. A reader refuses a higher number.")
    plan: Plan
    shard_rows: int = Field(ge=1, le=2**53, description="Input rows of a shard.")
    prior: EstimatedPrior | None = Field(default=None, description="null unless the target prior is estimated.")
    joining: bool = Field(default=False, description="Whether an output that exists is this job's.")
    input_rows: Count | None = Field(default=None, description="Rows of the input; null where they were not counted.")
    finished: Finished | None = Field(default=None, description="null until the job has ended.")
    report: Report | None = Field(default=None, description="Of a finished job, or of the one whose errors run again.")
    shards: list[ShardRecord] = Field(default=[], description="The shards of a finished job.")

    def plain(self) -> dict[str, Any]:
        """As the base class, with null for what an unfinished job does not have."""
        return {"prior": None, "finished": None, **super().plain()}
