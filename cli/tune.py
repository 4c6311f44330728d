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
        settings: Settings of the fit; the search starts here, and best.yaml has all of them.
        output: A folder for trials.csv and best.yaml; a search that has begun there goes on.
        minutes: No trial is begun that would hardly end within so many; null: no limit.
        trials: Trials in all, the default and those of earlier calls included; null: no limit.
        overwrite: Begin again, whatever search has begun there.
    """
    from ..tuning import print_study, tune

    found = tune(settings, output, minutes=minutes, trials=trials, overwrite=overwrite)
    print_study(found, make_console())
    print(f"written: {output_folder(output) / 'best.yaml'}; unskew fit --config takes it")
    return 0
