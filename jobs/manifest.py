"""The contents of job.json and of the records of finished shards, as types. Knows no file."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from ..common import Artefact, Count, FormatNumber, JsonObject, Name, Sha256, Share

Seconds = Annotated[float, Field(ge=0, description="Seconds.")]
Rate = Annotated[float, Field(ge=0)] | None


class InputPart(Artefact):
    """A file or a dataset of the hub, as the job found it."""

    file: Name | None = Field(default=None, description="Path of a file.")
    bytes: Count | None = Field(default=None, description="Size of a file.")
    sha256: Sha256 | None = Field(default=None, description="SHA-256 of a file.")
    address: Name | None = Field(default=None, description="hf:// address of a dataset.")
    revision: str | None = Field(default=None, description="Commit of a dataset, or a fingerprint of its folder.")

    @model_validator(mode="after")
    def _named(self) -> "InputPart":
        if not (self.file or self.address):
            raise ValueError("needs a file or an address")
        return self


class Plan(Artefact):
    """All that the results depend on; a run with another plan does not resume. Further fields describe the system."""

    input: list[InputPart] = Field(description="Parts of the input, in reading order.")
    settings: JsonObject = Field(description="Options that change the bytes of the results.")


class EstimatedPrior(Artefact):
    """The target prior estimated from the rows."""

    shares: dict[Name, Share] = Field(description="Shares by topic.")
    intervals: dict[Name, tuple[Share, Share]] = Field(
        default={},
        description="About 95% intervals of the shares; empty without held-out rows to show the classifier's errors.",
    )
    said: str = Field(description="Summary in words.")
    seconds: Seconds = Field(
        default=0.0, description="Seconds of work on rows that were read for it alone; the shards have that on others."
    )


class StageUsage(Artefact):
    """The work of a stage for a shard."""

    rows: Count = Field(description="Number of texts.")
    tokens_read: Count = Field(description="Tokens of prompts and texts, without padding.")
    tokens_written: Count = Field(description="Tokens of outputs.")
    seconds: Seconds = Field(description="Seconds of work.")


class ShardCost(Artefact):
    """The cost of a shard in the process that predicted it."""

    seconds: Seconds = Field(description="Seconds from its first row to its last.")
    stages: dict[str, StageUsage] = Field(description="Work of encoder and decoder.")
    memory: Count = Field(description="Peak memory of the process so far, in bytes.")
    gpu_memory: Count | None = Field(description="Peak memory on its GPU so far, in bytes; null without one.")


class ShardRecord(Artefact):
    """done/part-NNNNN.json: a finished shard. Written after the shard's own files."""

    index: Count = Field(description="Index of the shard, from 0.")
    rows: Count = Field(description="Rows with a result.")
    errors: Count = Field(description="Rows that could not be processed.")
    first_bad: str | None = Field(description="Place and reason of the first error.")
    bytes: Count = Field(description="Size of part-NNNNN, the result rows.")
    sha256: Sha256 = Field(description="SHA-256 of the same file.")
    error_bytes: Count = Field(description="Size of errors/part-NNNNN.jsonl; 0 if there is none.")
    plan: Sha256 | None = Field(
        default=None, description="Fingerprint of its plan; under another plan it does not count."
    )
    topics: dict[Name, Count] = Field(default={}, description="Rows of each most probable topic; not in job.json.")
    undecided: Count = Field(default=0, description="Rows without a topic; not in job.json.")
    cost: ShardCost | None = Field(default=None, description="Absent if not known; not in job.json.")


class Finished(Artefact):
    """The output of a finished job."""

    rows: Count = Field(description="Rows with a result.")
    errors: Count = Field(description="Rows that could not be processed.")
    first_bad: str | None = Field(description="Place and reason of the first error.")
    bytes: Count | None = Field(default=None, description="Size of the output, if it is one file.")
    sha256: Sha256 | None = Field(default=None, description="SHA-256 of the output, if it is one file.")


class StageReport(StageUsage):
    """The work of a stage in a job, over all workers."""

    rows_per_second: Rate = Field(description="Rows per second of one worker.")
    tokens_per_second: Rate = Field(description="Tokens read and written per second by one worker.")


class TopicReport(Artefact):
    """The results with one most probable topic, decided for or not."""

    rows: Count = Field(description="Rows with this most probable topic.")
    share: Share | None = Field(description="Share of the rows with a result; null without any.")
    training_share: Share | None = Field(description="Share of the clean training rows.")


class Report(Artefact):
    """The work and cost of a job; input_rows = output_rows + error_rows."""

    input_rows: Count = Field(description="Rows that were read.")
    output_rows: Count = Field(description="Rows with a result.")
    error_rows: Count = Field(description="Rows that could not be processed.")
    undecided_rows: Count = Field(description="Rows with a result but no topic.")
    seconds: Seconds = Field(
        description="Seconds of work on shards and on a sample for the prior, summed over workers and interrupted runs."
    )
    rows_per_second: Rate = Field(description="Rows per second of one worker.")
    stages: dict[str, StageReport] = Field(description="Work of encoder and decoder, if they count it.")
    peak_memory: Count = Field(description="Peak memory of a process, in bytes.")
    peak_gpu_memory: Count | None = Field(description="Peak memory of a process on a GPU, in bytes; null without one.")
    topics: dict[Name, TopicReport] = Field(description="All topics of the system.")
    shift: Share | None = Field(
        description="Half the sum of the absolute differences of share and training_share; 0 if they agree."
    )


class JobManifest(Artefact):
    """job.json, the manifest of a job: written first, and again at its end."""

    format: FormatNumber = Field(description="1. A reader refuses a higher number.")
    plan: Plan = Field(description="All that the results depend on.")
    shard_rows: int = Field(ge=1, le=2**53, description="Input rows in a shard.")
    prior: EstimatedPrior | None = Field(default=None, description="null unless the target prior is estimated.")
    joining: bool = Field(
        default=False, description="Whether an existing output is this job's, as it may be while the job ends."
    )
    replaces: list[Sha256] = Field(
        default=[], description="SHA-256 of the results and errors of an earlier run, which an unfinished job replaces."
    )
    clearing: bool = Field(
        default=False, description="Whether the shards of the job in whose place this one begins may still be there."
    )
    input_rows: Count | None = Field(default=None, description="Rows of the input; null if not counted.")
    finished: Finished | None = Field(default=None, description="null until the job has ended.")
    report: Report | None = Field(
        default=None, description="Report of a finished job, or of the one whose errors run again."
    )
    shards: list[ShardRecord] = Field(
        default=[], description="The shards of a finished job, or of one whose shards are being removed."
    )

    def plain(self) -> dict[str, Any]:
        """The plain values, with null for fields that an unfinished job does not have."""
        return {"prior": None, "finished": None, **super().plain()}
