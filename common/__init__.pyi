from .atomic import replacing_file, replacing_folder, restore_folder, write_jsonl, write_text
from .colours import COLOURS
from .console import PipeSafeStream, flush_or_drop, make_console
from .errors import UserError, check_settings, first_line
from .fingerprint import file_fingerprint, file_sha256, fingerprint
from .log_levels import errors_only
from .metric_titles import METRIC_TITLES
from .pages import page_values, render_page
from .paths import (
    BUNDLE_MANIFEST,
    check_disk,
    check_system,
    check_unicode,
    check_writable,
    model_folder,
    output_file,
    output_folder,
    problems_of_text,
    refuse_existing,
    removed_if_unused,
    usable_path,
)
from .printable import markdown_text, one_line, printable, spreadsheet_text
from .progress import ProgressCallback, ProgressKind, show_progress, track
from .schemas import (
    Artefact,
    Count,
    FormatNumber,
    JsonObject,
    Name,
    Sha256,
    Share,
    first_problem,
    read_artefact,
    read_bounded,
)
from .seeds import check_seed
from .signals import EXIT_BAD_ROWS, EXIT_DRIFTED, Terminated, ending_in_order
from .storage import AnyPath, RemotePath, any_path, is_url, local_or_open, replacing

__all__ = [
    "METRIC_TITLES",
    "COLOURS",
    "page_values",
    "render_page",
    "spreadsheet_text",
    "printable",
    "one_line",
    "markdown_text",
    "usable_path",
    "output_file",
    "output_folder",
    "read_bounded",
    "read_artefact",
    "first_problem",
    "Share",
    "Sha256",
    "Name",
    "JsonObject",
    "FormatNumber",
    "Count",
    "AnyPath",
    "Artefact",
    "BUNDLE_MANIFEST",
    "RemotePath",
    "any_path",
    "is_url",
    "local_or_open",
    "replacing",
    "EXIT_DRIFTED",
    "ProgressKind",
    "EXIT_BAD_ROWS",
    "ProgressCallback",
    "Terminated",
    "PipeSafeStream",
    "UserError",
    "check_disk",
    "check_seed",
    "check_settings",
    "check_system",
    "check_unicode",
    "check_writable",
    "model_folder",
    "problems_of_text",
    "ending_in_order",
    "errors_only",
    "file_fingerprint",
    "file_sha256",
    "fingerprint",
    "first_line",
    "flush_or_drop",
    "make_console",
    "refuse_existing",
    "removed_if_unused",
    "replacing_file",
    "replacing_folder",
    "restore_folder",
    "show_progress",
    "track",
    "write_jsonl",
    "write_text",
]
