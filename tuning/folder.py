"""The folder of a study: its identity, its trials, its lock. Knows files and settings; runs nothing.

study.json has the settings and the rows of the study, journal.log (Optuna's) the values tried, trials/0003.json the
result of a trial. trials/0003 and 0003.work exist while the trial runs. trials.csv and best.yaml are for the user.
"""

import json
import logging
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml
from filelock import FileLock, Timeout

from ..common import UserError, fingerprint, model_folder, write_text
from ..decoder import DecoderSettings
from ..encoder import EncoderSettings
from ..pipeline import FitSettings, TrainingData
from ..training import base_contents, plain_arguments, record_contents
from .space import Space

log = logging.getLogger("unskew")

Stage = TypeVar("Stage", EncoderSettings, DecoderSettings)

STUDY, LOCK, TRIALS, ROWS = "study.json", ".lock", "trials", "rows"
JOURNAL, TABLE, BEST = "journal.log", "trials.csv", "best.yaml"
_EARLY = {LOCK, TRIALS, ROWS}  # in the folder before study.json
_OWN = {*_EARLY, STUDY, JOURNAL, f"{JOURNAL}.lock", TABLE, BEST}
MOST_DIFFERENCES = 3


@dataclass(frozen=True)
class StudyFolder:
    """The folder of a study.

    Attributes:
        path: Path of the folder.
    """

    path: Path

    @classmethod
    @contextmanager
    def locked(cls, path: str | Path, overwrite: bool = False) -> Generator["StudyFolder"]:
        """The folder, created if missing and locked for one search; `overwrite` deletes an earlier study in it.

        Raises:
            UserError: If another search works in it, it has no study but other contents, or `overwrite` finds contents
                that are not the study's.
        """
        place = model_folder(path)
        names = {path.name for path in place.iterdir()} if place.is_dir() else set()
        if STUDY not in names and names - _EARLY:  # without one, it ended before the rows were read
            raise UserError(f"{path} has other contents than a study; give another --output")
        if overwrite and (others := sorted(names - _OWN)):
            listed = ", ".join(others[:MOST_DIFFERENCES]) + (", ..." if len(others) > MOST_DIFFERENCES else "")
            raise UserError(f"{path} has {listed} beside the study; move what is yours away, or give another --output")
        (place / TRIALS).mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(place / LOCK, timeout=0):
                if overwrite:
                    _empty(place)
                yield cls(place)
        except Timeout:
            raise UserError(f"another search works in {path}; wait for it, or give another --output") from None

    def check(self, identity: Mapping[str, Any]) -> None:
        """Write the identity of the study, or compare it with the one in the folder.

        Raises:
            UserError: If they differ.
        """
        file = self.path / STUDY
        asked = json.loads(json.dumps(identity, default=str))
        if not file.is_file():
            write_text(file, json.dumps(asked, indent=2) + "\n")
            return
        try:
            found = json.loads(file.read_text("utf-8"))
        except ValueError as error:
            raise UserError(f"{file} is damaged ({error}); give another --output") from error
        if found != asked:
            there, here = _flat(found), _flat(asked)
            names = sorted(name for name in {*there, *here} if there.get(name) != here.get(name))
            said = [f"{name} was {there.get(name)}, is {here.get(name)}" for name in names]
            raise UserError(
                f"{self.path} has a study with other settings or rows: {'; '.join(said[:MOST_DIFFERENCES])}; give "
                "another --output"
            )

    @property
    def rows(self) -> Path:
        """The folder of stored noisy rows."""
        return self.path / ROWS

    def result(self, number: int) -> Path:
        """The file with the result of a finished trial."""
        return self.path / TRIALS / f"{number:04}.json"

    def bundle(self, number: int) -> Path:
        """The bundle folder of a running trial."""
        return self.path / TRIALS / f"{number:04}"

    def write_best(self, settings: FitSettings) -> None:
        """Write settings in the form of `fit --config`, without the objects in a `trainer`, which it cannot hold."""
        settings = replace(settings, encoder=_without_objects("encoder", settings.encoder))
        if settings.decoder is not None:
            settings = replace(settings, decoder=_without_objects("decoder", settings.decoder))
        write_text(self.path / BEST, yaml.safe_dump(asdict(settings), sort_keys=False, allow_unicode=True))


def _without_objects(name: str, stage: Stage) -> Stage:
    plain = plain_arguments(stage.trainer)
    if others := sorted({*stage.trainer} - {*plain}):
        log.warning("%s leaves out %s.trainer's %s: objects; give them to `fit` again", BEST, name, ", ".join(others))
    return replace(stage, trainer=plain)


def _empty(place: Path) -> None:
    """Delete a study, with study.json last."""
    for path in sorted(place.iterdir(), key=lambda path: path.name == STUDY):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
    (place / TRIALS).mkdir()


def identity_of(settings: FitSettings, sets: TrainingData, space: Space) -> dict[str, Any]:
    """The identity of a study: settings and contents of the rows, whatever their paths."""
    stage = asdict(settings.encoder)
    del stage["trainer"]  # specific to this machine
    noisy = None if sets.noisy is None else record_contents(sets.noisy, targets=False)
    return {
        "encoder": stage,
        "calibration": settings.calibration,
        "model_prior": settings.model_prior,
        "seed": settings.seed,
        "contents of the base": base_contents(settings.encoder.base),
        "clean rows": fingerprint(record_contents(sets.train, targets=False)),
        "validation rows": fingerprint(record_contents(sets.validation, targets=False)),
        "noisy rows": fingerprint(noisy),
        "space": {name: asdict(searched) for name, searched in space.items()},
    }


def _flat(values: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {name: values}
    parts = (_flat(value, f"{name}.{key}".lstrip(".")) for key, value in values.items())
    return {key: value for part in parts for key, value in part.items()}
