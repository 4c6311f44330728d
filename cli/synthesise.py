"""`unskew synthesise`: its options, and what it prints. Parses nothing and loads no model before it must."""

import logging
from pathlib import Path

from rich.table import Table
from rich.text import Text

from ..common import make_console, one_line, output_file
from ..pipeline import DataSettings, Synthesis, SynthesisSettings

log = logging.getLogger("unskew")


def command(
    model: str,
    data: DataSettings,
    output: str,
    settings: SynthesisSettings,
    device: str | None = None,
    overwrite: bool = False,
) -> int:
    """Write rows for rare topics.

    Args:
        model: A bundle: a folder, or its id on the hub. Its encoder judges the texts; its decoder's base learns to
            write.
        data: The sets that the bundle was fitted on. With the same seed, the same validation rows are held out.
        output: A file for the JSON lines; rejected rows go to OUTPUT.rejected.jsonl.
        settings: Settings of the synthesis.
        device: Device: cpu, cuda, cuda:1, ...; by default a GPU if there is one.
        overwrite: Replace an existing output.
    """
    from ..pipeline import synthesise as run

    result = run(model, data, output, device=device, overwrite=overwrite, **vars(settings))
    _report(result, output_file(output))
    return 0


def _report(result: Synthesis, place: Path) -> None:
    table = Table(title="Synthetic rows", title_justify="left")
    table.add_column("topic")
    for title in ("training rows", "asked", "written", "agreed", "duplicates", "kept"):
        table.add_column(title, justify="right")
    for topic, tally in result.tallies.items():
        counts = (tally.rows, tally.asked, tally.written, tally.agreed, tally.duplicates, tally.kept)
        table.add_row(Text(one_line(topic)), *(f"{count:,}" for count in counts))
    make_console().print(table)
    written, agreed = (sum(getattr(tally, name) for tally in result.tallies.values()) for name in ("written", "agreed"))
    print(f"the encoder agrees with {agreed:,} of {written:,} written texts ({agreed / max(1, written):.0%})")
    for topic, count in result.missing.items():
        log.warning("%s: %d of %d rows could not be written", topic, count, result.tallies[topic].asked)
    if result.missing:
        log.warning("train the text generator longer (--decoder.noisy.epochs), or give more --attempts")
    print(f"written: {place} ({len(result.kept):,} rows) and {place}.rejected.jsonl ({len(result.rejected):,})")
    print("read them, delete wrong ones, and train on the rest with `unskew fit --data.synthetic`")
