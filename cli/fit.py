"""`unskew fit`: its options. Parses nothing and loads no model before it must."""

from ..pipeline import FitSettings
from ..training import LoggerName

MOST_USED = (
    "data.train",
    "output",
    "data.noisy",
    "data.columns.text",
    "data.columns.topic",
    "data.columns.target",
    "encoder.base",
    "decoder.base",
    "target_prior",
    "seed",
)


def command(
    settings: FitSettings, output: str, logger: LoggerName = "csv", dry_run: bool = False, overwrite: bool = False
) -> int:
    """Fit a system.

    Args:
        settings: Settings of the fit.
        output: Folder of the bundle.
        logger: Tracker of the curves and the final table; csv writes into OUTPUT.work.
        dry_run: Estimate rows, tokens, disk, memory and time, and fit nothing.
        overwrite: Replace an existing bundle.
    """
    if dry_run:
        from ..inspection import describe_fit

        print(describe_fit(settings, output, overwrite=overwrite))
        return 0
    from ..pipeline import fit as run

    run(settings, output, overwrite=overwrite, logger=logger)
    return 0
