"""The types of inspection.json. Knows no file and measures nothing."""

from pydantic import Field

from ..common import Artefact, Count, FormatNumber, Name, Share

MOST_COMPARED = 20_000  # noisy rows that are compared with the clean ones

Metrics = dict[str, float | None]


class TopicFacts(Artefact):
    """One topic."""

    topic: Name = Field(description="Name of the topic.")
    rows: Count = Field(description="Rows in the clean set.")
    share: Share = Field(description="Share of the clean rows.")
    band: str = Field(description="many (over 100 rows), medium (20 to 100) or few (under 20).")
    recall: Share | None = Field(
        description="Recall of a probe on held-out rows under equal topic shares; null without such rows."
    )
    doubted: Count = Field(description="Rows whose label the probe doubts.")
    noisy_rows: Count = Field(description="Rows in the noisy set, as far as it was read.")
    noisy_agreement: Share | None = Field(
        description="Share of these noisy rows for which the probe predicts the same topic; null without any."
    )


class Suspect(Artefact):
    """A row whose topic a person should look at."""

    id: str = Field(description="Id of the row.")
    text: str = Field(description="Text of the row.")
    topic: Name = Field(description="Topic given in the row.")
    target: str | None = Field(description="Target of the row.")
    suggestion: Name | None = Field(description="Topic suggested by a probe, or by the same text elsewhere.")
    times: float = Field(
        ge=0, description="Probability of the suggested topic over that of the given one; 0 without a probe."
    )
    why: str = Field(description="Reason in words.")


class Repeat(Artefact):
    """A row that repeats an earlier row."""

    id: str = Field(description="Id of the row.")
    set: str = Field(description="Set of the row: clean, noisy or validation.")
    twin: str = Field(description="Id of the earlier row.")
    twin_set: str = Field(description="Set of the earlier row.")
    exact: bool = Field(description="Whether the texts are equal except for case and white space.")
    same_topic: bool = Field(description="Whether both rows have the same topic.")


class Repeats(Artefact):
    """Rows that repeat others, exactly or nearly."""

    exact: Count = Field(description="Clean rows with the text of an earlier clean row.")
    near: Count = Field(description="Clean rows with nearly the text of an earlier clean row.")
    two_topics: Count = Field(description="Repeats, exact or near, with another topic than the earlier row.")
    across: Count = Field(
        description="Rows of other sets with exactly or nearly the text of a clean row; of a noisy set, the first "
        f"{MOST_COMPARED:,} rows are compared."
    )
    validation: Count = Field(default=0, description="Those that are rows of the validation set.")
    examples: list[Repeat] = Field(description="First repeats, those with two topics before others.")


class Pair(Artefact):
    """Two topics that a probe confuses."""

    topics: list[Name] = Field(min_length=2, max_length=2, description="Names of the two topics.")
    rows: Count = Field(description="Rows of either topic that are predicted as the other, under equal topic shares.")
    share: Share = Field(description="These rows over the rows of the rarer topic, at most 1.")


class Lengths(Artefact):
    """Lengths in tokens."""

    tokenizer: str = Field(
        description="Tokenizer: that of a base, or one trained on these rows, as in a fit from scratch."
    )
    median: Count = Field(description="Median length.")
    p95: Count = Field(description="Length that 95% of the rows do not exceed.")
    longest: Count = Field(description="Length of the longest row; 8192 stands for that or more.")
    limit: Count = Field(description="Most tokens of a row that are read.")
    cut: Count = Field(description="Rows with more tokens.")


class RepeatedTarget(Artefact):
    """A target of several rows."""

    target: str = Field(description="Text of the target.")
    rows: Count = Field(description="Rows with this target.")
    topics: Count = Field(description="Number of their topics.")


class Targets(Artefact):
    """The texts to write."""

    rows: Count = Field(description="Clean rows with a target.")
    missing: Count = Field(description="Clean rows without one.")
    distinct: Count = Field(description="Number of distinct targets.")
    repeated: Count = Field(description="Rows that share their target with another row.")
    lengths: Lengths | None = Field(description="Lengths for the decoder; null without one.")
    most: list[RepeatedTarget] = Field(description="Most frequent targets.")


class Probe(Artefact):
    """Quality of a linear head on rows that it was not fitted on."""

    features: str = Field(description="Features: those of a base, or TF-IDF.")
    rows: Count = Field(description="Rows that could be held out.")
    metrics: dict[str, Metrics] = Field(
        description="Metrics under the target priors uniform and train, as in evaluation.json."
    )
    notes: list[str] = Field(description="Choices of the probe and their reasons.")


class NoisySet(Artefact):
    """The noisy set compared with the clean set."""

    rows: Count = Field(description="Rows with a topic of the clean set.")
    read: Count = Field(description="Number of these rows that the probe read.")
    unknown_topics: dict[str, Count] = Field(
        description="Rows by topic that the clean set lacks; a fit leaves them out."
    )
    agreement: Share | None = Field(
        description="Share of rows for which a probe fitted on the clean rows predicts the given topic."
    )
    right: Share | None = Field(description="Estimated share of right topics; an upper bound if topics overlap.")
    nats: float | None = Field(
        description="Change of the held-out log-loss by the noisy set in nats, if it helps; else null."
    )


class Estimate(Artefact):
    """The estimated cost of a fit on this machine, within a factor of two or three."""

    stage: str = Field(description="Stage of the fit.")
    seconds: float = Field(ge=0, description="Seconds of the stage.")
    gigabytes: float = Field(ge=0, description="Gigabytes of memory, libraries included.")
    checkpoints: float = Field(ge=0, description="Gigabytes on disk for checkpoints.")


class Advice(Artefact):
    """A recommendation with its reason."""

    what: str = Field(description="What to do.")
    why: str = Field(description="Reason, with figures.")


class Inspection(Artefact):
    """inspection.json: the findings of `unskew inspect`."""

    format: FormatNumber = Field(default=1, description="1.")
    rows: Count = Field(description="Usable clean rows.")
    validation_rows: Count = Field(description="Rows of a given validation set.")
    unusable: Count = Field(description="Clean rows without a text or topic.")
    unusable_examples: list[str] = Field(description="Place and reason of the first such rows.")
    topics: list[TopicFacts] = Field(description="Most frequent first.")
    bands: dict[str, Count] = Field(description="Number of topics in each band.")
    imbalance: float = Field(ge=1, description="Rows of the most frequent topic over those of the rarest.")
    repeats: Repeats = Field(description="Rows that repeat others.")
    suspects: Count = Field(description="Rows of suspects.jsonl.")
    worst_suspects: list[Suspect] = Field(description="Most doubtful suspects.")
    pairs: list[Pair] = Field(description="Most confused pairs first.")
    lengths: Lengths = Field(description="Lengths of the texts.")
    scripts: dict[str, Count] = Field(description="Clean rows by the script of most of their letters.")
    targets: Targets = Field(description="Targets of the clean rows.")
    probe: Probe | None = Field(description="The probe; null if there are too many topics for one.")
    noisy: NoisySet | None = Field(description="The noisy set; null without one.")
    estimates: list[Estimate] = Field(description="Estimated cost of each stage of a fit.")
    advice: list[Advice] = Field(description="Recommendations, the most urgent first.")
    command: str = Field(description="Command line of the recommended fit.")
