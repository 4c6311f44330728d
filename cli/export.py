"""`unskew export`: its options, and what it prints. Parses nothing and loads no model before it must."""

from ..exporting import ExportSettings

MOST_USED = ("model", "output", "format")


def command(model: str, output: str, settings: ExportSettings, overwrite: bool = False) -> int:
    """Export a bundle for another runtime.

    Args:
        model: A bundle: a folder, or its id on the hub.
        output: Folder to write; its README has the code that loads it.
        settings: Stages and format of the export.
        overwrite: Replace an earlier export.
    """
    from ..exporting import export as run

    done = run(model, output, settings, overwrite)
    checked = "" if done.difference is None else f"; probabilities within {done.difference:.1g} of the bundle's"
    print(f"written: {done.folder} ({' and '.join(done.stages)} as {settings.format}{checked})")
    print(f"how to load it: {done.folder / 'README.md'}")
    return 0
