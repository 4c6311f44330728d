"""The types of inspection.json. Knows no file and measures nothing."""

from pydantic import Field

from ..common import Artefact, Count, FormatNumber, Name, Share

Measures = dict[str, float | None]


class TopicFacts(Artefact):
    """One topic."""

    topic: Name
    rows: Count = Field(description="In the clean set.")
    share: Share = Field(description="Of the clean rows.")
    band: str = Field(description="many (over 100 rows), medium (20 to 100) or few (under 20).")
    recall: Share | None = Field(description="Of a probe on held-out rows, topics alike; null where there were none.")
    doubted: Count = Field(description="Rows whose label the probe doubts.")
    noisy_rows: Count = Field(description="In the noisy set, as far as it was read.")
    noisy_agreement: Share | None = Field(description="Of those, where the probe says the same; null without any.")


class Suspect(Artefact):
    """A row whose topic a person should look at."""

    id: str
    text: str
    topic: Name = Field(description="As it was given.")
    target: str | None
    suggestion: Name | None = Field(description="The topic that a probe, or the same text elsewhere, speaks for.")
    times: float = Field(ge=0, description="How many times as probable as the given one it is; 0 where no probe says.")
    why: str


class Repeat(Artefact):
    """A row that says what an earlier one says."""

    id: str
    set: str = Field(description="clean, noisy or validation.")
    twin: str = Field(description="The id of the earlier row.")
    twin_set: str
    exact: bool = Field(description="Equal but for letter case and white space.")
    same_topic: bool


class Repeats(Artefact):
    """Rows that repeat others, exactly or nearly."""

    exact: Count = Field(description="Clean rows whose text an earlier clean row has.")
    near: Count = Field(description="Clean rows that are nearly an earlier clean row.")
    two_topics: Count = Field(description="Of both, those under another topic than the earlier row.")
    across: Count = Field(description="Rows of other sets that are, exactly or nearly, a clean row.")
    examples: list[Repeat] = Field(description="The first ones, those under two topics before others.")


class Pair(Artefact):
    """Two topics that a probe takes for one another."""

    topics: list[Name] = Field(min_length=2, max_length=2)
    rows: Count = Field(
        description="Rows of either that are answered as the other, by a probe to which topics count alike."
    )
    share: Share = Field(description="Of the rows of the rarer one, at most 1.")


class Lengths(Artefact):
    """Lengths in tokens."""

    tokenizer: str = Field(
        description="Whose tokens: a base, or one trained on these rows, as a fit from scratch does."
    )
    median: Count
    p95: Count = Field(description="95% of the rows are no longer.")
    longest: Count = Field(description="8192 means that many or more.")
    limit: Count = Field(description="Tokens that are read.")
    cut: Count = Field(description="Rows that have more.")


class RepeatedTarget(Artefact):
    """A target that several rows have."""

    target: str
    rows: Count
    topics: Count


class Targets(Artefact):
    """The texts to write."""

    rows: Count = Field(description="Clean rows with a target.")
    missing: Count = Field(description="Clean rows without one.")
    distinct: Count
    repeated: Count = Field(description="Rows whose target another row has too.")
    lengths: Lengths | None = Field(description="null without a decoder.")
    most: list[RepeatedTarget]


class Probe(Artefact):
    """What a linear head reaches on rows that it was not fitted on."""

    features: str = Field(description="Of a base, or TF-IDF.")
    rows: Count = Field(description="That could be held out.")
    measures: dict[str, Measures] = Field(description="Under the target priors uniform and train, see evaluation.json.")
    notes: list[str]


class NoisySet(Artefact):
    """What the noisy set is like beside the clean one."""

    rows: Count = Field(description="With a topic of the clean set.")
    read: Count = Field(description="Of those, how many the probe read.")
    unknown_topics: dict[str, Count] = Field(
        description="Rows by topic that the clean set lacks; a fit leaves them out."
    )
    agreement: Share | None = Field(description="Where a probe on the clean rows decides for the given topic.")
    right: Share | None = Field(
        description="The share of right topics, estimated: an upper bound where topics overlap."
    )
    nats: float | None = Field(description="What it changes of the held-out log-loss, where it helps; else null.")


class Estimate(Artefact):
    """What a fit is likely to take on this machine; within a factor of two or three."""

    stage: str
    seconds: float = Field(ge=0)
    gigabytes: float = Field(ge=0, description="Of memory, the libraries included.")
    checkpoints: float = Field(ge=0, description="Gigabytes on disk of the states that a fit goes on from.")


class Advice(Artefact):
    """What to do, and why."""

    what: str
    why: str


class Inspection(Artefact):
    """inspection.json: what `unskew inspect` found."""

    format: FormatNumber = Field(default=1, description="1.")
    rows: Count = Field(description="Clean rows that can be used.")
    validation_rows: Count = Field(description="Of a validation set that was given.")
    unusable: Count = Field(description="Clean rows without a text or topic.")
    unusable_examples: list[str] = Field(description="The first ones: where, and why.")
    topics: list[TopicFacts] = Field(description="Most frequent first.")
    bands: dict[str, Count] = Field(description="Topics in each band.")
    imbalance: float = Field(ge=1, description="Rows of the most frequent topic over those of the rarest.")
    repeats: Repeats
    suspects: Count = Field(description="Rows of suspects.jsonl.")
    worst_suspects: list[Suspect] = Field(description="The first of them.")
    pairs: list[Pair] = Field(description="Most exchanged first.")
    lengths: Lengths
    scripts: dict[str, Count] = Field(description="Clean rows by the script of most of their letters.")
    targets: Targets
    probe: Probe | None = Field(description="null where topics are too many for one.")
    noisy: NoisySet | None = Field(description="null where there is none.")
    estimates: list[Estimate]
    advice: list[Advice]
    command: str = Field(description="The fit that is recommended.")
