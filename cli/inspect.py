"""`unskew inspect`: its options, and what it prints. Parses nothing and loads no model before it must."""

from ..common import make_console, output_folder
from ..decoder import DecoderSettings
from ..encoder import EncoderSettings
from ..pipeline import DataSettings

MOST_USED = (
    "data.train",
    "output",
    "data.noisy",
    "data.columns.text",
    "data.columns.topic",
    "data.columns.target",
    "encoder.base",
)


def command(
    data: DataSettings,
    output: str,
    encoder: EncoderSettings = EncoderSettings(),  # noqa: B008 frozen
    decoder: DecoderSettings | None = DecoderSettings(),  # noqa: B008 frozen
    seed: int = 0,
    overwrite: bool = False,
) -> int:
    """Inspect records before a fit.

    Args:
        data: The records.
        output: A folder for inspection.json, inspection.html and suspects.jsonl.
        encoder: Stage 1 of the planned fit; the probe uses the features of its base, or TF-IDF without one.
        decoder: Stage 2 of the planned fit; null for topics alone.
        seed: Random seed of split and folds.
        overwrite: Replace an existing output.
    """
    from ..inspection import inspect as run
    from ..inspection import print_inspection

    found = run(data, output, encoder=encoder, decoder=decoder, seed=seed, overwrite=overwrite)
    print_inspection(found, make_console())
    print("written: " + ", ".join(str(path) for path in sorted(output_folder(output).iterdir())))
    return 0
