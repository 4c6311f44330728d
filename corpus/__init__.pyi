from .checks import check_disjoint, check_known_topics, check_training, check_usable, overlapping, text_key
from .formats import RawRow, count_rows, count_rows_about, format_of, next_csv_row, read_rows
from .hub import HubDataset
from .lines import count_lines, read_lines
from .near_duplicates import NearDuplicates
from .newsroom import Newsroom
from .newsroom_files import write_newsroom
from .paraphrases import split_paraphrases
from .reading import (
    Columns,
    LocatedRow,
    Source,
    as_label,
    load,
    load_usable,
    place_of,
    sample_texts,
    source_files,
    source_parts,
    stream,
    stream_located,
)
from .records import BadRow, Record
from .row_store import RowStore
from .splitting import stratified_split
from .spread_sample import SpreadSample
from .stored_records import StoredRecords, record_weights, subsample, topic_indices, unlike
from .topics import BANDS, Band, Topics, band, spelling_key, spellings

__all__ = [
    "BANDS",
    "BadRow",
    "Band",
    "Columns",
    "HubDataset",
    "NearDuplicates",
    "LocatedRow",
    "Newsroom",
    "RawRow",
    "Record",
    "RowStore",
    "Source",
    "SpreadSample",
    "StoredRecords",
    "Topics",
    "as_label",
    "band",
    "check_disjoint",
    "check_known_topics",
    "check_training",
    "check_usable",
    "count_lines",
    "count_rows",
    "count_rows_about",
    "format_of",
    "load",
    "load_usable",
    "next_csv_row",
    "overlapping",
    "place_of",
    "read_lines",
    "read_rows",
    "sample_texts",
    "split_paraphrases",
    "subsample",
    "source_files",
    "source_parts",
    "spelling_key",
    "spellings",
    "stratified_split",
    "stream",
    "stream_located",
    "record_weights",
    "text_key",
    "topic_indices",
    "unlike",
    "write_newsroom",
]
