"""Rows of a dataset on the Hugging Face hub, or in a folder of the same layout, streamed through `datasets`.

Knows nothing of what columns mean. A stream that breaks off cannot be resumed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..common import UserError
from .formats import RawRow, class_name

PREFIX = "hf://"
HUB_FILES = ("hf://datasets/", "hf://buckets/")  # addresses of single files, not of a dataset


@dataclass(frozen=True)
class HubDataset:
    """The dataset of `hf://OWNER/NAME[/CONFIG][:SPLIT]` or `hf://FOLDER[:SPLIT]`; a folder starts with / or a dot."""

    address: str

    @property
    def split(self) -> str | None:
        """The split, if the address has one."""
        return self.address.removeprefix(PREFIX).partition(":")[2] or None

    @property
    def name_and_config(self) -> tuple[str, str | None]:
        """The dataset's name or folder, and its configuration if the address has one."""
        name = self.address.removeprefix(PREFIX).partition(":")[0]
        if name.startswith(("/", ".")):
            return name, None
        owner, *rest = name.split("/", 2)
        return "/".join([owner, *rest[:1]]), rest[1] if len(rest) == 2 else None

    def rows(self, wanted: list[str], required: Mapping[str, str]) -> Iterator[RawRow]:
        """Yield the rows; class numbers become the dataset's class names.

        If the dataset is known to have the `required` columns, only the `wanted` ones are decoded.

        Raises:
            UserError: If the dataset cannot be opened or read to its end, or has several splits and none is named.
        """
        number = 0
        try:
            dataset = self._open()
            names = _class_names(dataset.features or {})
            if set(required) <= set(dataset.features or {}):  # else the error of a missing column lists them all
                dataset = dataset.select_columns([name for name in dataset.features if name in wanted])
            for number, row in enumerate(dataset, start=1):
                named = {column: class_name(row[column], known) for column, known in names.items() if column in row}
                yield RawRow(number, row | named)
        except UserError:
            raise
        # Builders, file systems and the hub's client each raise exceptions of their own.
        except Exception as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())
            remedy = "check the name, the network, and whether the dataset needs a login"
            raise UserError(f"cannot read {self.address} beyond row {number}: {said}; {remedy}") from error

    def _open(self) -> Any:
        import datasets

        name, config = self.name_and_config
        loaded = datasets.load_dataset(name, config, split=self.split, streaming=True)
        if not isinstance(loaded, datasets.IterableDatasetDict):
            return loaded
        if len(loaded) == 1:
            return next(iter(loaded.values()))
        splits = ", ".join(map(str, loaded))
        raise UserError(f"{self.address} has the splits {splits}; name one: {self.address}:SPLIT")


def _class_names(features: Any) -> dict[str, list[str]]:
    return {column: feature.names for column, feature in features.items() if hasattr(feature, "int2str")}
