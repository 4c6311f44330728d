"""The search space: settings of stage 1 with their ranges. Knows settings; runs nothing.

Every range includes the value that the search starts from, so the default is a trial like any other.
"""

from dataclasses import dataclass, replace
from typing import Any

from ..common import UserError
from ..encoder import EncoderSettings
from ..pipeline import FitSettings

Value = float | int | None
LAYER_DECAY = (0.7, 1.0)
BASE_RATE, SCRATCH_RATE = (2e-5, 4e-4), (3e-4, 6e-3)
SAMPLING_RATIOS = (None, 10.0, 3.0, 1.0)
ROWS_PER_BATCH = (8, 16, 32)


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Attributes:
        low: Smallest value.
        high: Largest value.
        whole: Whether only whole numbers are tried.
        log: Whether the scale is logarithmic.
    """

    low: float
    high: float
    whole: bool = False
    log: bool = False

    def including(self, value: Any) -> "Range":
        """The same range, widened to include a value."""
        return replace(self, low=min(self.low, value), high=max(self.high, value))


@dataclass(frozen=True)
class OneOf:
    """A choice between a few values.

    Attributes:
        values: Two values or more.
    """

    values: tuple[Value, ...]

    def including(self, value: Any) -> "OneOf":
        """The same choice with one more value."""
        return self if value in self.values else OneOf((*self.values, value))


Space = dict[str, Range | OneOf]


def search_space(settings: FitSettings, noisy: bool) -> Space:
    """The ranges by option of `fit`.

    Args:
        settings: Resolved settings that the search starts from.
        noisy: Whether there are noisy rows.

    Raises:
        UserError: If the recipe has nothing to search.
    """
    encoder = settings.encoder
    if encoder.recipe_in_force == "probe":
        raise UserError(
            "recipe probe has no settings to search, because it makes all choices on held-out rows itself; give "
            "encoder.recipe tuned or phases"
        )
    space = _of_phases(encoder, noisy) if encoder.recipe_in_force == "phases" else _of_tuned()
    return {name: searched.including(value_of(settings, name)) for name, searched in space.items()}


def _of_tuned() -> Space:
    return {
        "encoder.clean.learning_rate": Range(*BASE_RATE, log=True),
        "encoder.clean.epochs": Range(1, 4, whole=True),
        "encoder.layer_decay": Range(*LAYER_DECAY),
        "encoder.rows_per_batch": OneOf(ROWS_PER_BATCH),
    }


def _of_phases(encoder: EncoderSettings, noisy: bool) -> Space:
    rate = Range(*(SCRATCH_RATE if encoder.base is None else BASE_RATE), log=True)
    space: Space = {
        "encoder.clean.learning_rate": rate,
        "encoder.clean.epochs": Range(2, 12, whole=True),
        "encoder.sampling_ratio": OneOf(SAMPLING_RATIOS),
    }
    if encoder.base is not None:
        space["encoder.layer_decay"] = Range(*LAYER_DECAY)
    if noisy and not encoder.noisy.is_left_out:
        space["encoder.noisy.learning_rate"] = rate
    return space


def value_of(settings: Any, name: str) -> Any:
    """The value of the option with a dotted name."""
    first, _, rest = name.partition(".")
    value = getattr(settings, first)
    return value_of(value, rest) if rest else value


def with_value(settings: Any, name: str, value: Value) -> Any:
    """The settings with another value for the option with a dotted name.

    Raises:
        UserError: If the settings refuse the value.
    """
    first, _, rest = name.partition(".")
    return replace(settings, **{first: with_value(getattr(settings, first), rest, value) if rest else value})


def with_values(settings: FitSettings, values: dict[str, Value]) -> FitSettings:
    """The settings with other values for some options, by dotted name."""
    for name, value in values.items():
        settings = with_value(settings, name, value)
    return settings
