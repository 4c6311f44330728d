"""Settings of an ablation: arms as data over shared defaults. Knows both stages' settings; runs nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from ..balance import CalibrationKind, LossSettings
from ..common import UserError, check_seed, fingerprint
from ..decoder import DecoderSettings, GenerationSettings
from ..encoder import EncoderSettings
from ..pipeline import DataSettings

Decide = Literal["decoder", "head", "probe", "zero_shot", "encoder", "gold", "shuffled", "svm", "bayes"]
Group = Literal["decoder", "encoder", "hybrid", "reference"]
Role = Literal["baseline", "contender"]
ArmCalibration = CalibrationKind | Literal["contextual", "batch"]
Settings = TypeVar("Settings", DecoderSettings, EncoderSettings)

PLAIN_LOSS = LossSettings("cross_entropy", weights="none")
SIGNIFICANT = 0.05  # corrected p below which a difference is marked
UNDECIDED = ("gold", "shuffled")  # `decide` values that give topics instead of deciding them


@dataclass(frozen=True)
class ArmSettings:
    """One row of the comparison: its differences from the shared settings.

    Attributes:
        title: Title in tables.
        group: Group in tables: decoder, encoder, hybrid (its encoder decides) or reference.
        role: In the headline: the "baseline" that the others are compared with, or a "contender" for the lead. Where no
            arm has one, the first arm is the baseline, and all that decide topics are contenders.
        decide: Who picks the topic. "decoder": its topic token, in one forward pass; "head": a classification head on
            the decoder; "probe": a balanced logistic regression on the trained decoder's last hidden states;
            "zero_shot": its untrained base, by the probability of each topic's name; "encoder": stage 1; "gold":
            nobody, the true topics are given; "shuffled": nobody, a wrong topic is given, drawn from the others;
            "svm": TF-IDF and a linear SVM with balanced weights; "bayes": the exact posterior (the newsroom's alone).
        write: Whether the decoder then writes an output under that topic.
        decoder: Settings of stage 2 that differ from the shared ones, by name.
        encoder: Settings of stage 1 (or of the head) that differ, by name.
        calibration: Calibration, fitted on the validation rows. "contextual": the prior is the decoder's prediction for
            texts without content (Zhao et al. 2021); "batch": its mean over the unlabelled test rows (after Zhou et al.
            2024).
        target_prior: "raw" decides by the model's own softmax; the others by the calibrated posterior under that prior.
            "adaptive" estimates it from the unlabelled test rows, as a job does by default.
        guidance: Strength of classifier-free guidance of the outputs; above 1 it needs a `topic_dropout`.
        fairness: Whether `<force_fairness>` precedes the topic when the arm is used.
        synthetic: Whether the synthetic rows of `data.synthetic` join the clean ones.
        relabel: Whether its decoder gets the noisy rows with the topics that the arm's encoder predicts, as in
            `unskew fit`; otherwise with their own topics, some of them wrong.
        same_start: Whether it claims the initial weights, rows, order and tokens of the baseline; checked in the run.
        note: A note for readers.
    """

    title: str
    group: Group
    decide: Decide = "decoder"
    write: bool = False
    decoder: dict[str, Any] = field(default_factory=dict)
    encoder: dict[str, Any] = field(default_factory=dict)
    calibration: ArmCalibration = "none"
    target_prior: Literal["raw", "train", "uniform", "adaptive"] = "raw"
    guidance: float = 1.0
    fairness: bool = False
    synthetic: bool = False
    relabel: bool = False
    same_start: bool = False
    note: str = ""
    role: Role | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.decide not in get_args(Decide):
            problems.append(f"decide is {self.decide!r}, must be one of {', '.join(get_args(Decide))}")
        if self.group not in get_args(Group):
            problems.append(f"group is {self.group!r}, must be one of {', '.join(get_args(Group))}")
        if self.group == "hybrid" and self.decide != "encoder":
            problems.append(f"in group hybrid an encoder decides, but decide is {self.decide!r}; give another group")
        if self.role not in (None, *get_args(Role)):
            problems.append(f"role is {self.role!r}, must be {' or '.join(get_args(Role))}")
        if self.role is not None and self.decide in UNDECIDED:
            problems.append(f"role {self.role} needs an arm that decides topics, and {self.decide} are given")
        if self.target_prior != "raw" and (
            self.decide not in ("decoder", "head", "encoder") or self.calibration in ("contextual", "batch")
        ):
            what = f"decide {self.decide}" if self.calibration == "none" else f"calibration {self.calibration}"
            problems.append(f"{what} has no prior to correct; leave target_prior raw")
        if self.calibration in ("contextual", "batch") and self.decide not in ("decoder", "zero_shot"):
            problems.append(f"calibration {self.calibration} needs topics decided by a decoder, not by {self.decide}")
        if self.relabel and self.decide in ("decoder", "head", "probe", "zero_shot", "svm", "bayes"):
            problems.append(f"relabel needs an encoder, but the arm decides by {self.decide}")
        if self.target_prior == "raw" and self.calibration not in ("none", "contextual", "batch"):
            problems.append(f"calibration {self.calibration} needs a target_prior: train, uniform or adaptive")
        if self.guidance != 1 and not self.write:
            problems.append(f"guidance {self.guidance:g} is of outputs, and this arm writes none")
        try:
            GenerationSettings(guidance=self.guidance)
        except UserError as error:
            problems.append(str(error))
        if problems:
            raise UserError(f"arm {self.title!r}: " + "; ".join(problems))

    @property
    def fits_decoder(self) -> bool:
        """Whether it needs a trained decoder."""
        return self.write or self.decide in ("decoder", "head", "probe")

    @property
    def reads_decoder(self) -> bool:
        """Whether it needs a decoder, trained or not."""
        return self.fits_decoder or self.decide == "zero_shot"

    @property
    def fits_encoder(self) -> bool:
        """Whether it needs a trained encoder, or a head."""
        return self.relabel or self.decide in ("encoder", "head")


@dataclass(frozen=True)
class AblationSettings:
    """A comparison.

    Attributes:
        data: The sets; each seed holds out its own validation rows.
        test: Labelled test rows, not used for training or choices.
        definitions: Arms by name, in the order of the tables, each with its differences from the shared settings; best
            given in a config.
        encoder: Stage 1, shared by the arms that have one.
        decoder: Stage 2, shared by the arms that have one.
        arms: Names of the arms to run, as a,b,c; all unless given.
        seeds: Random seeds of splits, weights and order, as 0,1,2; each arm runs once with each. With fewer than five,
            runs are described and not judged.
        newsroom: The newsroom.json beside synthetic rows; adds the Bayes ceiling.
        outputs: Number of test rows for which outputs are written, in proportion to the topics; topics are measured on
            all rows.
        budget: Share of the clean rows of each topic, validation rows included, and of the noisy rows; 0.1 for a quick
            look.
        test_rows: Largest number of test rows, in proportion to the topics; all unless given.
        baseline: The arm to compare the others with; unless given, the arm whose role is baseline.
        recommended: A second arm to compare the others with, such as the best decoder alone; none unless given.
        title: Title of the report.
    """

    data: DataSettings
    test: str
    definitions: dict[str, ArmSettings]
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    decoder: DecoderSettings = field(default_factory=DecoderSettings)
    arms: list[str] | str | None = None
    seeds: list[int] | tuple[int, ...] | int | str = "0,1,2,3,4"
    newsroom: str | None = None
    outputs: int = 240
    budget: float = 1.0
    test_rows: int | None = None
    baseline: str | None = None
    recommended: str | None = None
    title: str = "Hybrid against decoder-only"

    def __post_init__(self) -> None:
        problems = []
        if not self.chosen or not self.run_seeds:
            problems.append("give at least one arm and one seed")
        if len(set(self.run_seeds)) < len(self.run_seeds):
            problems.append("a seed occurs twice")
        if not 0 < self.budget <= 1:
            problems.append(f"budget is {self.budget}, must be above 0 and at most 1")
        if self.outputs < 1 or (self.test_rows is not None and self.test_rows < 1):
            problems.append("outputs and test_rows must be positive")
        for name in ("baseline", "recommended"):
            if (arm := getattr(self, name)) is not None and arm not in self.definitions:
                problems.append(f"{name}: there is no {arm!r}; give one of {', '.join(self.definitions)}")
        problems += self._role_problems()
        if problems:
            raise UserError("ablation: " + "; ".join(problems))
        for seed in self.run_seeds:
            check_seed(seed, "ablation: a seed")
        for name, arm in self.chosen.items():
            try:
                decoder = self.decoder_of(arm)
                if arm.decide == "zero_shot" and decoder.base is None:
                    raise UserError(
                        "decide zero_shot needs decoder.base, because a model from scratch knows no topic names"
                    )
                if arm.guidance > 1 and not decoder.topic_dropout:
                    raise UserError("guidance needs a decoder with a topic_dropout, such as 0.1")
                if arm.fairness and not decoder.fairness:
                    raise UserError("fairness needs a decoder trained with it; give the arm decoder: {fairness: true}")
                overridden(self.encoder, arm.encoder)
            except UserError as error:
                raise UserError(f"ablation, arm {name}: {error}") from None

    def _role_problems(self) -> list[str]:
        roles = [name for name, arm in self.chosen.items() if arm.role == "baseline"]
        return [f"the arms {', '.join(roles)} all have the role baseline; give it to one"] if len(roles) > 1 else []

    @property
    def chosen(self) -> dict[str, ArmSettings]:
        """The definitions of the arms to run, in the order of `definitions`."""
        if self.arms is None:
            return self.definitions
        names = [name.strip() for name in self.arms.split(",")] if isinstance(self.arms, str) else self.arms
        if unknown := [name for name in names if name not in self.definitions]:
            raise UserError(f"arms: there is no {unknown[0]!r}; give some of {', '.join(self.definitions)}")
        return {name: arm for name, arm in self.definitions.items() if name in names}

    @property
    def run_seeds(self) -> tuple[int, ...]:
        """The seeds as numbers."""
        given = str(self.seeds).split(",") if isinstance(self.seeds, int | str) else self.seeds
        try:
            return tuple(int(seed) for seed in given)
        except ValueError:
            raise UserError(f"seeds are {self.seeds!r}; give whole numbers such as 0,1,2") from None

    @property
    def compared_with(self) -> str:
        """The baseline's name: the one given, else the arm of that role, else the first arm that decides topics."""
        decides = [name for name, arm in self.chosen.items() if arm.decide not in UNDECIDED]
        roles = [name for name, arm in self.chosen.items() if arm.role == "baseline"]
        return self.baseline or next(iter([*roles, *decides, *self.chosen]))

    @property
    def contenders(self) -> list[str]:
        """Arms that the headline may name, baseline last: the arms of that role, or all that decide, without bounds."""
        roles = [name for name, arm in self.chosen.items() if arm.role == "contender"]
        deciding = [n for n, arm in self.chosen.items() if arm.decide not in UNDECIDED and arm.group != "reference"]
        others = roles or deciding
        return [*(name for name in others if name != self.compared_with), self.compared_with]

    @property
    def hybrid(self) -> str | None:
        """The arm for claims about the hybrid: a contender if there is one, else the first hybrid."""
        arms = [name for name, arm in self.chosen.items() if arm.group == "hybrid"]
        return next((name for name in arms if self.chosen[name].role == "contender"), arms[0] if arms else None)

    def decoder_of(self, arm: ArmSettings) -> DecoderSettings:
        """Stage 2 of an arm; it is trained to decide by its topic token only if the arm does so."""
        settings = overridden(self.decoder, arm.decoder)
        if arm.decide == "decoder":
            return settings if settings.topic_loss is not None else replace(settings, topic_loss=PLAIN_LOSS)
        return replace(settings, topic_loss=None, noisy_topic_loss=None)

    def encoder_of(self, arm: ArmSettings) -> EncoderSettings:
        """Stage 1 of an arm."""
        return overridden(self.encoder, arm.encoder)

    def fit_key(self, arm: ArmSettings) -> str:
        """A key that is equal for arms that train the same models; such arms run in sequence and share them."""
        decoder = self.decoder_of(arm) if arm.fits_decoder else None
        encoder = self.encoder_of(arm) if arm.fits_encoder else None
        return fingerprint(_plain(decoder), _plain(encoder), arm.synthetic, arm.relabel)


def overridden(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """`settings` with some fields changed; a mapping changes the named fields of a nested setting.

    Raises:
        UserError: if there is no such field, or a value does not fit it.
    """
    return _overridden(settings, changes)


def _overridden(settings: Any, changes: Mapping[str, Any]) -> Any:
    known = {own.name for own in fields(settings)}
    if unknown := sorted(set(changes) - known):
        raise UserError(f"there is no setting {unknown[0]!r}; give one of {', '.join(sorted(known))}")
    values = {}
    for name, value in changes.items():
        nested = _dataclass_of(settings, name) if isinstance(value, Mapping) else None
        if nested is None:
            values[name] = value
            continue
        current = getattr(settings, name)
        # A new loss starts from its defaults, because it may not have the fields of the old one.
        afresh = current is None or (nested is LossSettings and "name" in value)
        values[name] = _overridden(nested() if afresh else current, value)
    try:
        return replace(settings, **values)
    except TypeError as error:
        raise UserError(f"{dict(changes)} does not fit: {error}") from None


def _dataclass_of(settings: Any, name: str) -> type | None:
    """The dataclass of a nested field, `X` or `X | None`."""
    hint = get_type_hints(type(settings))[name]
    return next((kind for kind in (hint, *get_args(hint)) if is_dataclass(kind)), None)  # pyright: ignore[reportReturnType]


def _plain(settings: DecoderSettings | EncoderSettings | None) -> Any:
    """The settings without the trainer's arguments, which say where a fit runs and need not be plain values."""
    return None if settings is None else replace(settings, trainer={})
