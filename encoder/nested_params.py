"""Opens settings among an estimator's parameters to scikit-learn: `loss__gamma` is `gamma` of `loss`."""

from dataclasses import fields, is_dataclass, replace
from typing import Any, Self, get_args, get_type_hints

from sklearn.base import BaseEstimator


class NestedSettings(BaseEstimator):
    """An estimator whose parameters may be frozen dataclasses, with fields that can be got, set and searched over."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """As in scikit-learn; with `deep`, also the fields of settings."""
        params = super().get_params(deep)
        if not deep:
            return params
        settings = [(name, value) for name, value in params.items() if is_dataclass(value)]
        return params | {f"{name}__{f.name}": getattr(value, f.name) for name, value in settings for f in fields(value)}

    def set_params(self, **params: Any) -> Self:
        """As in scikit-learn; fields are set after their settings, all at once.

        Raises:
            ValueError: If a parameter or field is unknown, or the fields do not go together.
        """
        inner: dict[str, dict[str, Any]] = {}
        for name in [name for name in params if "__" in name]:
            outer, _, field = name.partition("__")
            inner.setdefault(outer, {})[field] = params.pop(name)
        super().set_params(**params)
        for outer, values in inner.items():
            settings: Any = getattr(self, outer, None)
            known = [f.name for f in fields(settings)] if is_dataclass(settings) else []
            if unknown := [name for name in values if name not in known]:
                named = f"{outer}__{unknown[0]}"
                remedy = "" if known else self._remedy(outer)
                raise ValueError(f"Invalid parameter {named!r} for estimator {self}: {outer} is {settings!r}{remedy}")
            setattr(self, outer, replace(settings, **values))  # pyright: ignore[reportArgumentType]
        return self

    def _remedy(self, parameter: str) -> str:
        """How to give a parameter that may be settings, but is none; empty for one that never is."""
        given = get_args(get_type_hints(type(self).__init__).get(parameter))
        kinds = [kind.__name__ for kind in given if isinstance(kind, type) and is_dataclass(kind)]
        return f"; set {parameter}={kinds[0]}() first" if kinds else ""
