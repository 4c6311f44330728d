"""Reads the results of jobs, by other readers than our own; and a fake pipeline that takes more rows."""

import csv
import gzip
import io
import json
from contextlib import contextmanager

import pyarrow
import pyarrow.parquet as pq

from unskew.jobs.encoding import FORMATS

OUTPUTS = [*(f"out.{form}" for form in FORMATS), "out", "out.parquet/", "out.csv/"]


@contextmanager
def healed(fake, *words):
    """A pipeline that takes rows with these words after all."""

    class Healed(fake.FakePipeline):
        def __call__(self, texts, **asked):
            for word in words:
                texts = [text.replace(f"{word} POISON", word) for text in texts]
            return super().__call__(texts, **asked)

    before, fake.FakePipeline = fake.FakePipeline, Healed
    try:
        yield
    finally:
        fake.FakePipeline = before


def contents(path):
    """The result rows by another reader than our own."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    if path.suffix == ".zst":
        content = pyarrow.input_stream(io.BytesIO(content), compression="zstd").read()
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    return [json.loads(line) for line in content.splitlines()]
