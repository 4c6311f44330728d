"""`unskew tune`: its options, and what it prints. Parses nothing and loads no model before it must."""

from ..common import make_console, output_folder
from ..pipeline import FitSettings

MOST_USED = ("data.train", "output", "minutes", "trials", "data.noisy", "encoder.base")


def command(
    settings: FitSettings,
    output: str,
    minutes: float | None = 30.0,
    trials: int | None = None,
    overwrite: bool = False,
) -> int:
    """Search settings of stage 1.

    Args:
        settings: Settings of the fit, from which the search starts; best.yaml has all of them.
        output: Folder for trials.csv and best.yaml; an earlier search there is continued.
        minutes: Time limit: no trial after the first starts that would probably end later; null is no limit.
        trials: Number of trials in all, including the default and those of earlier calls; null is no limit.
        overwrite: Delete an earlier search there and start again.
    """
    from ..tuning import print_study, tune

    found = tune(settings, output, minutes=minutes, trials=trials, overwrite=overwrite)
    print_study(found, make_console())
    print(f"written: {output_folder(output) / 'best.yaml'}; unskew fit --config takes it")
    return 0
