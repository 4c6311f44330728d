"""The bodies of requests, checked; their options come from the settings of a prediction. Knows no server.

A new field of `PredictOptions` or `GenerationSettings` becomes an option of a request, with its default and help.
"""

import types
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from http import HTTPStatus
from typing import Any, ClassVar, Literal, LiteralString, Union, get_args, get_origin, get_type_hints

from docstring_parser import parse as parse_docstring
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    create_model,
    field_validator,
)
from pydantic_core import PydanticCustomError

from ..balance import resolve_prior
from ..common import UserError
from ..pipeline import PredictOptions, fault_of
from .problems import RequestError
from .systems import ServedSystem
from .ticket import Ask

SUM_TOLERANCE = 1e-3  # written shares are rounded
_FORMS: dict[str, LiteralString] = {
    "target_prior": "give uniform, train, adaptive, estimate, or an object of shares by topic",
    "topic": "give a topic, or a list with a topic or null for each text",
}


class _OfSettings(BaseModel):
    """A body with the fields of a settings dataclass."""

    model_config = ConfigDict(extra="forbid")
    settings: ClassVar[type]
    names: ClassVar[tuple[str, ...]]

    def plain(self) -> Any:
        """The settings.

        Raises:
            UserError: If a value is out of its range.
        """
        values = {name: getattr(self, name) for name in self.names}
        return self.settings(**{n: v.plain() if isinstance(v, _OfSettings) else v for n, v in values.items()})


def _body_of(settings: type, left_out: Sequence[str] = ()) -> Any:
    """The class of bodies with the fields of a dataclass, nested dataclasses included."""
    hints = get_type_hints(settings)
    explained = {p.arg_name: p.description for p in parse_docstring(settings.__doc__ or "").params}
    taken: dict[str, Any] = {}
    for field in fields(settings):
        if field.name not in left_out:
            default = field.default_factory() if field.default_factory is not MISSING else field.default
            explanation = " ".join((explained.get(field.name) or "").split())
            taken[field.name] = (_hint_of(hints[field.name]), Field(default, description=explanation))
    made = create_model(settings.__name__, __base__=_OfSettings, **taken)
    made.settings, made.names = settings, tuple(taken)
    return made


def _hint_of(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        return Union[tuple(_hint_of(part) for part in get_args(hint))]  # noqa: UP007 of a tuple
    return _body_of(hint) if isinstance(hint, type) and is_dataclass(hint) else hint


_Options: Any = _body_of(PredictOptions, left_out=("window",))


class PredictRequest(_Options):
    """One text or many, and how to predict them."""

    model_config = ConfigDict(
        extra="forbid",
        title="PredictRequest",
        json_schema_extra={"examples": [{"text": "The club signed a keeper on Monday.", "target_prior": "uniform"}]},
    )

    text: str | None = Field(None, description="One text; give this or `texts`.")
    texts: list[str] | None = Field(None, description="Many texts.")
    model: str | None = Field(None, description="Name of the system; by default the first one served.")
    target_prior: Literal["uniform", "train", "adaptive", "estimate"] | dict[str, float] | None = Field(
        None,
        description="Prior to predict for: uniform, train, shares by topic that sum to 1, or an estimate from these "
        "texts: adaptive (within what the training set makes likely) or estimate (from the texts alone). By default "
        "that of the bundle.",
    )
    topic: str | list[str | None] | None = Field(
        None, description="Topic to write under, whatever stage 1 decides; a list has one topic or null for each text."
    )
    write: bool = Field(True, description="Whether to write outputs; false gives topics alone.")
    stream: bool = Field(False, description="Whether to answer with server-sent events while outputs are written.")
    log_probabilities: bool = Field(
        False,
        description="Whether to add every topic's calibrated log-probability under the training prior, in the order of "
        "/info, from which any other target prior can be computed.",
    )

    @field_validator(*_FORMS, mode="wrap")
    @classmethod
    def _in_one_of_its_forms(cls, value: Any, check: ValidatorFunctionWrapHandler, field: ValidationInfo) -> Any:
        try:
            return check(value)
        except ValidationError:  # names the first form alone, as pydantic's type
            raise PydanticCustomError("form", _FORMS[str(field.field_name)]) from None

    def ask(self, system: ServedSystem, most_rows: int) -> Ask:
        """The request to a worker.

        Raises:
            RequestError: If there are no texts or too many, a text is empty, or the system lacks an option.
            UserError: If an option is out of range.
        """
        texts = self._texts(most_rows)
        self._check_prior(system)
        options = self.plain()
        if options.sets is not None and not 0 < options.sets < 1:
            raise UserError(f"sets is {options.sets}; give an error rate between 0 and 1, such as 0.1")
        system.pipeline.check_options(options)
        return Ask(
            tuple(texts),
            options,
            self.target_prior,
            self._forced(system, len(texts)),
            self.write,
            self.stream,
            self.log_probabilities,
        )

    def _texts(self, most_rows: int) -> list[str]:
        if (self.text is None) == (self.texts is None):
            raise UserError('give either "text" or "texts"')
        texts = [self.text] if self.text is not None else self.texts
        if not texts:
            raise UserError("texts is empty; give at least one")
        if len(texts) > most_rows:
            raise RequestError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"{len(texts):,} texts; this server takes {most_rows:,} in a request: send them in parts",
            )
        for row, text in enumerate(texts, 1):
            if fault := fault_of(text):
                raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, f"text {row} {fault}", row)
        return texts

    def _check_prior(self, system: ServedSystem) -> None:
        if not isinstance(self.target_prior, dict):
            return
        resolve_prior(self.target_prior, system.pipeline.topics)  # refuses unknown topics and invalid shares
        total = sum(self.target_prior.values())
        if abs(total - 1) > SUM_TOLERANCE:
            raise UserError(f"target_prior sums to {total:.4g}; give shares that sum to 1")

    def _forced(self, system: ServedSystem, texts: int) -> tuple[str | None, ...]:
        given = self.topic if isinstance(self.topic, list) else [self.topic] * texts
        if len(given) != texts:
            raise UserError(f"topic has {len(given)} entries for {texts} texts; give one, or one for each text")
        if self.topic is not None and system.pipeline.decoder is None:
            raise UserError("topic is the topic to write under, but this server writes no outputs; leave it out")
        for row, topic in enumerate(given, 1):
            if topic is not None and topic not in system.pipeline.topics:
                known = ", ".join(system.pipeline.topics.names[:20])
                raise RequestError(
                    HTTPStatus.UNPROCESSABLE_ENTITY, f"there is no topic {topic!r}; there are {known}", row
                )
        return tuple(given)


class Prediction(BaseModel):
    """The prediction for one text."""

    topic: str | None = Field(description="Decided topic; null if none is probable enough.")
    confidence: float = Field(description="Probability of the most probable topic.")
    topics: dict[str, float] = Field(description="Most probable topics with their probabilities, in descending order.")
    output: str | None = Field(description="Written text; null without one.")
    topic_set: list[str] | None = Field(None, description="Conformal set; only if `sets` was given.")
    forced_topic: str | None = Field(None, description="Topic that the output was written under, if it was forced.")
    log_probabilities: list[float] | None = Field(None, description="Log-probabilities, if requested.")


class PredictAnswer(BaseModel):
    """The answer to a `PredictRequest`."""

    model: str
    results: list[Prediction] = Field(description="Predictions, one for each text, in order.")
    target_prior: dict[str, float] | None = Field(None, description="Estimated shares, for adaptive and estimate.")


def system_named(systems: Sequence[ServedSystem], name: str | None) -> ServedSystem:
    """The system of that name; without a name, the first system.

    Raises:
        UserError: If there is none.
    """
    for system in systems:
        if name in (None, system.name):
            return system
    raise UserError(f"there is no model {name!r} here; there are {', '.join(s.name for s in systems)}")
