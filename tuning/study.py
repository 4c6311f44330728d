"""The search: fits and judges the default, then Optuna's suggestions, and resumes after an interruption.

Knows Optuna and how to fit; other modules define the search space and choose the best trial. A trial's values depend
only on the seed, its number and earlier results, so an interrupted study continues as if it had not stopped.
"""

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from ..balance import DecisionSettings
from ..common import UserError, errors_only, first_line
from ..pipeline import FitSettings, fit, read_sets
from ..runtime import is_out_of_memory
from .folder import JOURNAL, TABLE, StudyFolder, identity_of
from .held_out_loss import losses_of, rows_of
from .results import DEFAULT, StudyResult, TrialResult, short
from .space import OneOf, Range, Space, search_space, value_of, with_values

log = logging.getLogger("unskew")

RANDOM_TRIALS = 4  # random trials before the tree of Parzen estimators starts


def tune(
    settings: FitSettings,
    output: str | Path,
    *,
    minutes: float | None = 30.0,
    trials: int | None = None,
    overwrite: bool = False,
) -> StudyResult:
    """Search settings of stage 1 for the lowest calibrated log-loss on held-out rows; stage 2 is not fitted.

    The folder gets `trials.csv` and `best.yaml`. A call with the same folder continues the study, starting with an
    interrupted trial.

    Args:
        settings: Settings of the fit, from which the search starts.
        output: Folder of the study; created if missing.
        minutes: Time limit: a trial starts only if it would end in time, were it as long as the longest so far; the
            default is always fitted. None is no limit.
        trials: Number of trials in all, including the default and those of earlier calls. None is no limit.
        overwrite: Whether to delete an existing study first.

    Raises:
        UserError: If Optuna is not installed, the folder has another study, or the default cannot be fitted.
    """
    _check_limits(minutes, trials)
    optuna = _optuna()
    given, settings = settings, settings.resolved()
    with StudyFolder.locked(output, overwrite) as folder:
        sets = read_sets(settings.data, settings.seed, cache=folder.rows)
        space = search_space(settings, bool(sets.noisy))
        folder.check(identity_of(settings, sets, space))
        searched = _open(optuna, folder, {name: value_of(settings, name) for name in space})
        end = None if minutes is None else monotonic() + 60 * minutes
        if minutes is not None and not folder.result(DEFAULT).is_file():
            log.info(
                "the first trial is the default, which is fitted to its end even if that takes over %g min", minutes
            )
        done = StudyResult([])
        while True:
            done = StudyResult([*done.trials, *_finished(searched, folder)[len(done.trials) :]])
            if done.trials and _enough(done, end, trials):
                break
            number, values = _next(optuna, searched, space, settings.seed)
            result = _run(folder, number, with_values(settings, values), values, done)
            result.save(folder.result(number))
            _tell(optuna, searched, result)
            _say(StudyResult([*done.trials, result]))
        done.write_table(folder.path / TABLE)
        folder.write_best(with_values(given, done.kept.values))  # not resolved: another decoder has other defaults
    return done


def _check_limits(minutes: float | None, trials: int | None) -> None:
    if minutes is not None and not minutes > 0:
        raise UserError(f"minutes is {minutes}, must be positive")
    if trials is not None and trials < 1:
        raise UserError(f"trials is {trials}, must be positive")
    if minutes is None and trials is None:
        raise UserError("give minutes or trials, because a search without either would never end")


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UserError("tuning needs Optuna; run pip install 'unskew[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _open(optuna: Any, folder: StudyFolder, default: dict[str, Any]) -> Any:
    """The study, whose first trial is the default."""
    journal = optuna.storages.journal.JournalFileBackend(str(folder.path / JOURNAL))
    searched = optuna.create_study(
        study_name="unskew", storage=optuna.storages.JournalStorage(journal), load_if_exists=True
    )
    if not searched.trials:
        searched.enqueue_trial(default)
    return searched


def _finished(searched: Any, folder: StudyFolder) -> list[TrialResult]:
    """Results of consecutive trials from the first, up to one without a result."""
    found = []
    for number in range(len(searched.trials)):
        if not folder.result(number).is_file():
            break
        found.append(TrialResult.load(folder.result(number)))
    return found


def _enough(done: StudyResult, end: float | None, trials: int | None) -> bool:
    if trials is not None and len(done.trials) >= trials:
        return True
    longest = max(trial.seconds for trial in done.trials)
    return end is not None and monotonic() + longest > end


def _next(optuna: Any, searched: Any, space: Space, seed: int) -> tuple[int, dict[str, Any]]:
    """The interrupted trial, or a new one."""
    begun = [trial for trial in searched.trials if trial.state == optuna.trial.TrialState.RUNNING]
    waiting = sum(trial.state == optuna.trial.TrialState.WAITING for trial in searched.trials)
    number = begun[0].number if begun else len(searched.trials) - waiting
    searched.sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=(1000 * seed + number) % 2**32)
    # An interrupted trial gets the same values again.
    trial = optuna.trial.Trial(searched, begun[0]._trial_id) if begun else searched.ask()
    return trial.number, {name: _suggest(trial, name, values) for name, values in space.items()}


def _suggest(trial: Any, name: str, values: Range | OneOf) -> Any:
    if isinstance(values, OneOf):
        return trial.suggest_categorical(name, values.values)
    if values.whole:
        return trial.suggest_int(name, int(values.low), int(values.high))
    return trial.suggest_float(name, values.low, values.high, log=values.log)


def _run(
    folder: StudyFolder, number: int, settings: FitSettings, values: dict[str, Any], done: StudyResult
) -> TrialResult:
    """Fit and judge. A failed fit is a result too, unless it is the default."""
    if folder.result(number).is_file():  # not reported to Optuna yet: the process ended in between
        return TrialResult.load(folder.result(number))
    bundle, begun = folder.bundle(number), monotonic()
    judged = replace(settings, decoder=None, decision=DecisionSettings())  # the loss is of probabilities
    try:
        with errors_only(log.name):  # one line per trial
            corrector = fit(judged, bundle, overwrite=True, rows=folder.rows).corrector
        losses, rows = tuple(losses_of(corrector)), rows_of(corrector)
        failure = None if not done.trials or rows == done.default.rows else "it held out other rows than the default"
    except (UserError, RuntimeError, MemoryError) as error:
        if number == DEFAULT or not (isinstance(error, UserError) or is_out_of_memory(error)):
            raise
        losses, rows, failure = (), "", first_line(error)
    seconds = monotonic() - begun
    for left in (bundle, bundle.with_name(bundle.name + ".work")):
        shutil.rmtree(left, ignore_errors=True)
    return TrialResult(number, values, seconds, () if failure else losses, rows, failure)


def _tell(optuna: Any, searched: Any, result: TrialResult) -> None:
    if result.failure is None:
        searched.tell(result.number, result.loss)
    else:
        searched.tell(result.number, state=optuna.trial.TrialState.FAIL)


def _say(done: StudyResult) -> None:
    trial = done.trials[-1]
    values = ", ".join(f"{name} {short(value)}" for name, value in trial.values.items())
    found = f"log-loss {trial.loss:.4f}" if trial.failure is None else f"failed: {trial.failure}"
    log.info("trial %d, %.0f s: %s (%s)", trial.number, trial.seconds, found, values)
