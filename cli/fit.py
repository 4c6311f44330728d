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


def command(settings: FitSettings, output: str, logger: LoggerName = "csv", overwrite: bool = False) -> int:
    """Fit a system.

    Args:
        settings: The user's choices.
        output: The bundle's folder.
        logger: Where curves and the final table go; csv: into OUTPUT.work.
        overwrite: Replace what stands there.
    """
    from ..pipeline import fit as run

    run(settings, output, overwrite=overwrite, logger=logger)
    return 0
