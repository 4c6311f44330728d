"""The types of evaluation.json and audit.json. Knows no file and measures nothing."""

from typing import Annotated

from pydantic import Field

from ..common import Artefact, Count, FormatNumber, JsonObject, Name, Share

Metrics = dict[str, float | None]


class StoredEvaluation(Artefact):
    """evaluation.json: the result of `unskew evaluate`."""

    format: FormatNumber = Field(default=1, description="1; absent in files of version 0.1.0.")
    rows: Count = Field(description="Measured rows.")
    left_out: Count = Field(description="Rows without a text or topic.")
    repeated: Count = Field(default=0, description="Rows left out because their text is in the training set.")
    topics: Metrics = Field(description="Metrics of the decided topics; null where there were no rows.")
    recall: dict[Name, Share | None] = Field(description="By topic; null without rows.")
    outputs: dict[str, float] = Field(description="Metrics of the outputs; empty without a decoder or targets.")
    ceiling: Metrics = Field(description="Metrics of the Bayes-optimal classifier; empty if not known.")
    examples: list[JsonObject] = Field(description="A few rows with their outputs, rare topics first.")
    target_prior: dict[Name, Share] = Field(description="Target prior of the decisions: shares by topic.")
    target_intervals: dict[Name, tuple[Share, Share]] = Field(
        default={},
        description="About 95% intervals of these shares; empty without held-out rows, or if the prior was given.",
    )
    undecided: dict[Name, Share | None] = Field(
        default={}, description="Share of undecided rows by topic; empty without any."
    )
    obedience: dict[str, dict[str, float]] = Field(
        default={},
        description="Metrics by kind of given topic (right, decided, wrong); under targets, the targets' own.",
    )
    views: dict[str, Metrics] = Field(
        default={}, description="Metrics as in `topics` under other target priors: uniform, train."
    )


class StoredSkew(Artefact):
    """One topic of an audit."""

    topic: Name = Field(description="Name of the topic.")
    rows: Count = Field(description="Rows with this true topic.")
    recall: Share | None = Field(description="null without rows.")
    true_share: Share = Field(description="Of all rows.")
    predicted_share: Share = Field(description="Of all rows.")
    training_share: Share | None = Field(description="Share of the training rows; null without a training set.")
    times: float = Field(ge=0, description="Predicted over true rows, each plus half a row.")


class StoredAudit(Artefact):
    """audit.json: the result of `unskew audit`."""

    format: FormatNumber = Field(description="1.")
    verdict: str = Field(description="Verdict in one sentence.")
    rows: Count = Field(description="Measured rows.")
    metrics: Metrics = Field(description="Metrics by name; null without rows to measure.")
    intervals: dict[str, Annotated[list[float], Field(min_length=2, max_length=2)]] = Field(
        description="95% bootstrap intervals of the main metrics."
    )
    topics: list[StoredSkew] = Field(description="Most frequent first.")
    problems: dict[str, Count] = Field(description="Number of rows with each problem.")
    examples: dict[str, str] = Field(description="First row with each problem.")
    trained: bool = Field(description="Whether there was a training set.")
