"""The decision that a user asked for, fitted to given topics, a target prior and held-out rows.

Knows settings, names of topics and probabilities; knows no model and no file.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from ..corpus import Topics
from .decisions import Decision, TunedOffsets, tune_offsets
from .settings import DecisionSettings
from .thresholds import ConfidenceThreshold, threshold_for_accuracy, threshold_for_undecided


@dataclass(frozen=True)
class FittedDecision:
    """A decision in force; its string is a line for a log.

    Attributes:
        settings: Settings that the user gave.
        decision: The fitted decision.
        tuned: Effect of tuned offsets on the held-out rows, if offsets were tuned.
        threshold: Derived confidence and what to expect of it, if one was derived.
    """

    settings: DecisionSettings = field(default_factory=DecisionSettings)
    decision: Decision = field(default_factory=Decision)
    tuned: TunedOffsets | None = None
    threshold: ConfidenceThreshold | None = None

    def __str__(self) -> str:
        parts = ["the least expected cost decides" if self.settings.costs else "the most probable topic"]
        if self.tuned is not None:
            name = str(self.settings.tune).replace("macro_f1", "macro-F1").replace("_", " ")
            parts = [
                f"offsets tuned for {name} {'kept' if self.tuned.kept else 'not kept'}: {self.tuned.before:.3f} -> "
                f"{self.tuned.after:.3f} on rows of the other folds"
            ]
        if self.threshold is not None:
            parts.append(str(self.threshold))
        elif self.decision.least:
            parts.append("undecided below a probability of its own")
        return "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON; the settings have the costs."""
        tuned = self.tuned and {name: value for name, value in asdict(self.tuned).items() if name != "offsets"}
        threshold = self.threshold and asdict(self.threshold)
        decision = {"offsets": list(self.decision.offsets), "least": list(self.decision.least)}
        # An earlier version reads a matrix of costs: without any it must refuse the settings' costs, not ignore them.
        matrix = {} if self.decision.costs else {"costs": []}
        return {"settings": asdict(self.settings), **decision, **matrix, "tuned": tuned, "threshold": threshold}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], topics: Topics) -> "FittedDecision":
        """The inverse of `to_dict`, for the same topics."""
        settings = DecisionSettings(**_fields_of(DecisionSettings, stored["settings"]))
        decision = Decision(tuple(stored["offsets"]), _costs(settings.costs, topics), tuple(stored["least"]))
        tuned, threshold = stored["tuned"], stored["threshold"]
        return cls(
            settings,
            decision,
            tuned and TunedOffsets(decision.offsets, *(tuned[name] for name in ("before", "after", "kept"))),
            threshold and ConfidenceThreshold(**_fields_of(ConfidenceThreshold, threshold)),
        )


def fit_decision(
    settings: DecisionSettings,
    topics: Topics,
    probabilities: Tensor | None = None,
    labels: Tensor | None = None,
    weights: Tensor | None = None,
) -> FittedDecision:
    """Fit the decision that `settings` ask for.

    Args:
        settings: Settings that the user gave.
        topics: Topics, in the order of the probabilities.
        probabilities: Probabilities of held-out rows (n, C), right for the target prior and calibrated on other rows;
            needed if `settings.needs_rows`.
        labels: Topics (n,) of the rows.
        weights: Weights of the rows (n,) that give them the shares of the target prior.

    Raises:
        UserError: If a topic is unknown, or no confidence reaches the wanted accuracy.
    """
    tuned = threshold = None
    decision = Decision(costs=_costs(settings.costs, topics))
    if probabilities is not None and labels is not None:
        if settings.tune is not None:
            tuned = tune_offsets(probabilities, labels, settings.tune, weights)
            decision = Decision(offsets=tuned.offsets)
        if settings.accuracy is not None:
            threshold = threshold_for_accuracy(probabilities, labels, settings.accuracy, decision, weights)
        elif settings.undecided is not None:
            threshold = threshold_for_undecided(probabilities, labels, settings.undecided, decision, weights)
    least = _least(settings.min_confidence, topics)
    if threshold is not None:
        least = [max(value, threshold.value) for value in least]
    decision = Decision(decision.offsets, decision.costs, tuple(least) if any(least) else ())
    return FittedDecision(settings, decision, tuned, threshold)


def _fields_of(kind: type, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a stored object that this version knows, with lists as tuples."""
    known = {name: stored[name] for name in kind.__dataclass_fields__ if name in stored}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()}


def _costs(costs: Mapping[str, Mapping[str, float]] | None, topics: Topics) -> tuple[tuple[int, int, float], ...]:
    return tuple(
        (topics.index(true), topics.index(decided), float(cost))
        for true, row in (costs or {}).items()
        for decided, cost in row.items()
    )


def _least(wanted: float | Mapping[str, float], topics: Topics) -> list[float]:
    if not isinstance(wanted, Mapping):
        return [float(wanted)] * len(topics)
    least = [0.0] * len(topics)
    for name, value in wanted.items():
        least[topics.index(name)] = float(value)
    return least
