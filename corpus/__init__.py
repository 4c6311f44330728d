"""unskew.corpus: records, files, topics and their counts, the synthetic newsroom; no model."""

from typing import TYPE_CHECKING, Any

from .checks import check_disjoint, check_known_topics, check_training, overlapping
from .errors import UserError
from .fingerprint import file_fingerprint, fingerprint
from .paraphrases import set_apart
from .reading import Columns, load, load_usable, place_of, source_files, stream
from .records import BadRow, Record
from .splitting import stratified_folds, stratified_split
from .topics import BANDS, Band, Topics, band
from .writing import replacing_file, replacing_folder, restore_folder, write_jsonl, write_text

if TYPE_CHECKING:
    from .newsroom import Newsroom
    from .newsroom_files import write_newsroom

__all__ = [
    "BANDS",
    "BadRow",
    "Band",
    "Columns",
    "Newsroom",
    "Record",
    "Topics",
    "UserError",
    "band",
    "check_disjoint",
    "check_known_topics",
    "check_training",
    "file_fingerprint",
    "fingerprint",
    "load",
    "load_usable",
    "overlapping",
    "place_of",
    "replacing_file",
    "replacing_folder",
    "restore_folder",
    "set_apart",
    "source_files",
    "stratified_folds",
    "stratified_split",
    "stream",
    "write_jsonl",
    "write_newsroom",
    "write_text",
]


# The newsroom needs NumPy, which rooms that take only the topics from here must not.
def __getattr__(name: str) -> Any:
    if name == "Newsroom":
        from .newsroom import Newsroom

        return Newsroom
    if name == "write_newsroom":
        from .newsroom_files import write_newsroom

        return write_newsroom
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
