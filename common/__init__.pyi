from .atomic import replacing_file, replacing_folder, restore_folder, write_jsonl, write_text
from .console import make_console
from .errors import UserError, first_line
from .fingerprint import file_fingerprint, fingerprint
from .paths import check_writable, refuse_existing
from .progress import ProgressKind, Tell, showing, track
from .signals import SOME_ROWS_BAD, Terminated, ending_on_sigterm

__all__ = [
    "ProgressKind",
    "SOME_ROWS_BAD",
    "Tell",
    "Terminated",
    "UserError",
    "check_writable",
    "ending_on_sigterm",
    "file_fingerprint",
    "fingerprint",
    "first_line",
    "make_console",
    "refuse_existing",
    "replacing_file",
    "replacing_folder",
    "restore_folder",
    "showing",
    "track",
    "write_jsonl",
    "write_text",
]
