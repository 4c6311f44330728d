"""The types of evaluation.json and audit.json. Knows no file and measures nothing."""

from typing import Annotated

from pydantic import Field

from ..common import Artefact, Count, FormatNumber, JsonObject, Name, Share

Measures = dict[str, float | None]


class StoredEvaluation(Artefact):
    """evaluation.json: what `unskew evaluate` measured."""

    format: FormatNumber = Field(default=1, description="1; absent in files of version 0.1.0.")
    rows: Count = Field(description="Rows that were measured.")
    left_out: Count = Field(description="Rows without a text or topic.")
    repeated: Count = Field(default=0, description="Rows left out because their text is in the training set.")
    topics: Measures = Field(description="Measures of the decided topics; null where there were no rows.")
    recall: dict[Name, Share | None] = Field(description="By topic; null without rows.")
    outputs: dict[str, float] = Field(description="Measures of the outputs; empty without a decoder or targets.")
    ceiling: Measures = Field(description="Of the Bayes-optimal classifier; empty where it is not known.")
    examples: list[JsonObject] = Field(description="A few rows with their outputs, rare topics first.")
    target_prior: dict[Name, Share] = Field(description="The shares that the decisions were right for.")
    undecided: dict[Name, Share | None] = Field(
        default={}, description="Share of each topic's rows that stayed undecided; empty where none did."
    )
    obedience: dict[str, dict[str, float]] = Field(
        default={}, description="By kind of topic given (right, decided, wrong; targets: what targets reach): measures."
    )
    views: dict[str, Measures] = Field(default={}, description="`topics` under other target priors: uniform, train.")


class StoredSkew(Artefact):
    """One topic of an audit."""

    topic: Name
    rows: Count = Field(description="With this true topic.")
    recall: Share | None = Field(description="null without rows.")
    true_share: Share = Field(description="Of all rows.")
    predicted_share: Share = Field(description="Of all rows.")
    training_share: Share | None = Field(description="Of the training rows; null without a training set.")
    times: float = Field(ge=0, description="Predicted over true rows, each with half a row added.")


class StoredAudit(Artefact):
    """audit.json: what `unskew audit` measured."""

    format: FormatNumber = Field(description="1.")
    verdict: str = Field(description="The finding in one sentence.")
    rows: Count = Field(description="Rows that were measured.")
    measures: Measures = Field(description="null where there was nothing to measure on.")
    intervals: dict[str, Annotated[list[float], Field(min_length=2, max_length=2)]] = Field(
        description="95% bootstrap intervals of the main measures."
    )
    topics: list[StoredSkew] = Field(description="Most frequent first.")
    problems: dict[str, Count] = Field(description="Rows of each kind of problem.")
    examples: dict[str, str] = Field(description="The first row of each kind.")
    trained: bool = Field(description="Whether there was a training set.")
