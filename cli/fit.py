"""`unskew fit`: its options. Parses nothing and loads no model before it must."""

from typing import Literal

from ..balance import CalibrationKind, DecisionSettings, TargetPrior
from ..decoder import DecoderSettings
from ..encoder import EncoderSettings
from ..pipeline import DataSettings, FitSettings, ModelPrior
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
    data: DataSettings,
    output: str,
    encoder: EncoderSettings = EncoderSettings(),  # noqa: B008 frozen
    decoder: DecoderSettings | None = DecoderSettings(),  # noqa: B008 frozen
    calibration: CalibrationKind | None = None,
    model_prior: ModelPrior = "loss",
    target_prior: TargetPrior | Literal["adaptive"] = "adaptive",
    decision: DecisionSettings = DecisionSettings(),  # noqa: B008 frozen
    logger: LoggerName = "csv",
    seed: int = 0,
    overwrite: bool = False,
) -> int:
    """Fit a system.

    Args:
        data: The records.
        output: The bundle's folder.
        encoder: Stage 1.
        decoder: Stage 2; null fits the topic classifier alone.
        calibration: Of probabilities, kept where held-out NLL improves. Unless given, phases have
            bias_corrected_temperature, and the recipes "tuned" and "probe" none (they fit a scale).
        model_prior: Source of the prior that is divided out: the loss (with counts), or held-out rows.
        target_prior: To be right for: uniform, train, shares, or each job's own rows.
        decision: Which topic a text gets under the target prior, and when none.
        logger: Where curves and the final table go; csv: into OUTPUT.work.
        seed: Of everything random.
        overwrite: Replace what stands there.
    """
    from ..pipeline import fit as run

    settings = FitSettings(data, encoder, decoder, calibration, model_prior, target_prior, decision, seed)
    run(settings, output, overwrite=overwrite, logger=logger)
    return 0
