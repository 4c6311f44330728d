"""A batch job: a file of texts in, a file of topics and outputs out, bad rows set apart.

Knows files and the pipeline. The output is written whole or not at all, in the order of the input.
"""

import json
import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..corpus import BadRow, Columns, Record, UserError, place_of, replacing_file, source_files, stream
from ..corpus.reading import Source
from ..decoder import GenerationSettings
from .hybrid import HybridPipeline
from .places import refuse_existing
from .progress import track

log = logging.getLogger("unskew")


@dataclass
class JobSummary:
    """What became of the rows of a job."""

    written: int = 0
    bad: int = 0
    first_bad: str | None = None

    def __str__(self) -> str:
        bad = f"; {self.bad:,} rows could not be processed, the first: {self.first_bad}" if self.bad else ""
        return f"{self.written:,} rows written{bad}"


def predict(
    pipeline: HybridPipeline,
    source: Source,
    output: str | Path,
    *,
    columns: Columns | None = None,
    top_k: int = 5,
    generation: GenerationSettings | None = None,
    fairness: bool = False,
    limit: int | None = None,
    overwrite: bool = False,
) -> JobSummary:
    """Predict every usable row of `source`, in order, into the JSON lines of `output`.

    Rows that cannot be processed go to `OUTPUT.errors.jsonl` with id, line and reason; the job goes on.

    Raises:
        UserError: If the source cannot be read or `output` exists and must not be replaced.
    """
    output = Path(output)
    errors = output.with_name(output.name + ".errors.jsonl")
    refuse_existing(output, overwrite)
    refuse_existing(errors, overwrite)
    if output.suffix in (".parquet", ".csv"):
        raise UserError(f"{output}: predictions are written as JSON lines; name the file .jsonl")
    if limit is not None and limit < 1:
        raise UserError(f"limit is {limit}; give at least 1")
    if output.resolve() in {path.resolve() for path in source_files(source)}:
        raise UserError(f"{output} is the input itself; choose another name")
    summary = JobSummary()
    ids: deque[str] = deque()
    read = replace(columns or Columns(), topic=None, target=None)
    rows = stream(source, read, limit)
    with replacing_file(output) as good, replacing_file(errors) as bad:

        def texts() -> Iterator[str]:
            for row in rows:
                if isinstance(row, Record):
                    ids.append(row.id)
                    yield row.text
                else:
                    bad.write(_line(_reported(row)))
                    summary.bad += 1
                    summary.first_bad = summary.first_bad or f"{place_of(row)}: {row.reason}"

        results = pipeline(texts(), top_k=top_k, generation=generation, fairness=fairness)
        for result in track(results, "predict", limit):
            good.write(_line({"id": ids.popleft(), **result.to_dict()}))
            summary.written += 1
    if not summary.bad:
        errors.unlink()
    if not summary.written and not summary.bad:
        log.warning("%s has no rows", source)
    return summary


def _reported(row: BadRow) -> dict[str, object]:
    return {"id": row.id, "line": row.line, "file": row.file, "reason": row.reason}


def _line(values: dict[str, object]) -> str:
    return json.dumps(values, ensure_ascii=False) + "\n"
