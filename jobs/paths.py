"""The paths that a job writes to. Knows names and formats; writes nothing."""

import os
from dataclasses import dataclass
from pathlib import Path

from ..common import AnyPath, UserError, any_path, output_file, output_folder
from .encoding import FORMATS, RowFormat, format_of_name

ERRORS = ".errors.jsonl"


@dataclass(frozen=True)
class JobPaths:
    """The paths that a job writes to.

    Attributes:
        output: Output file or folder.
        folder: Working folder.
        form: Format of the result rows.
    """

    output: AnyPath
    folder: AnyPath
    form: RowFormat

    @classmethod
    def of(cls, output: str) -> "JobPaths":
        """The paths for the name of an output.

        Raises:
            UserError: If the name has the ending of another format, or nothing can be written there.
        """
        path = any_path(output)
        form = format_of_name(path.name)
        is_local = isinstance(path, Path)
        if output.endswith(("/", os.sep)) or not path.suffix or path.is_dir():
            path = output_folder(output) if is_local else path
            return cls(path, path, form or "jsonl")
        if form is None:
            endings = ", ".join(f".{known}" for known in FORMATS)
            raise UserError(f"{output}: predictions are written as {endings}; name the file so, or a folder/")
        path = output_file(output) if is_local else path
        return cls(path, path.with_name(path.name + ".job"), form)

    @property
    def is_folder(self) -> bool:
        """Whether the output is a folder of shards."""
        return self.output == self.folder

    @property
    def errors(self) -> AnyPath:
        """The file of rows that could not be processed."""
        return self.output.with_name(self.output.name + ERRORS)

    @property
    def results(self) -> list[AnyPath]:
        """What a job writes outside its working folder."""
        return [self.errors] if self.is_folder else [self.output, self.errors]

    def part(self, index: int) -> AnyPath:
        """Result rows of a shard."""
        return self.folder / f"part-{index:05d}.{self.form}"

    def bad(self, index: int) -> AnyPath:
        """Error rows of a shard."""
        return self.folder / "errors" / f"part-{index:05d}.jsonl"

    def done(self, index: int) -> AnyPath:
        """The record of a finished shard."""
        return self.folder / "done" / f"part-{index:05d}.json"
