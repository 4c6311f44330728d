"""Writes the report of an ablation: a page, a table for a spreadsheet, a table for a paper, and pictures.

Knows only the content of results.json; runs, trains and measures nothing.
"""

import logging
from pathlib import Path
from typing import Any

from ...common import page_values, write_text
from ..stored import checked_results
from .html import render_report
from .tables import as_csv, as_markdown

log = logging.getLogger("unskew")


def write_report(results: dict[str, Any], folder: Path) -> list[Path]:
    """Write report.html, results.csv, table.md and plots/*.png, *.svg into `folder`; other files there are kept.

    Without matplotlib (the extra `plots`) no plots are written, and the page says that it has no pictures.

    Args:
        results: Content of results.json, just made or read from the file.
        folder: The folder to write; made if it is missing.

    Returns:
        The files written, report.html first.

    Raises:
        UserError: If the results have another format, or the folder cannot be written.
    """
    results = page_values(checked_results(results))
    written = []
    for name, text in (
        ("report.html", render_report(results)),
        ("results.csv", as_csv(results)),
        ("table.md", as_markdown(results)),
    ):
        write_text(folder / name, text)
        written.append(folder / name)
    try:
        from .files import save_plots
    except ImportError:
        log.info("no pictures: install them with `pip install unskew[plots]`")
        return written
    return written + save_plots(results, folder / "plots")
