"""JSON files of known shape, read as typed values or refused in one line. Knows files and pydantic; no file's meaning.

pydantic and not dataclasses with checks by hand: types, ranges and finite numbers are declared once, read straight from
bytes that may be hostile (deep nesting, halves of surrogate pairs, NaN), and documented from the same declaration
(docs/schemas.md).
"""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from .errors import UserError
from .storage import AnyPath, RemotePath

LARGEST = 2**29  # bytes of a file; a manifest with a million shards has half as many

Count = Annotated[int, Field(ge=0, le=2**53)]
Size = Annotated[int, Field(ge=1, le=2**31)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1, max_length=10_000)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FormatNumber = Annotated[int, Field(ge=1, le=10**6)]
JsonObject = dict[str, JsonValue]


class Artefact(BaseModel):
    """A JSON object: declared fields have strict types and finite numbers; further fields are ignored."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="allow", frozen=True)

    def plain(self) -> dict[str, Any]:
        """Plain values for JSON, without fields that the file did not have."""
        return self.model_dump(exclude_unset=True)


class _Format(BaseModel):
    format: FormatNumber = 1


Kind = TypeVar("Kind", bound=Artefact)


def read_artefact(path: AnyPath, kind: type[Kind], newest: int | None = None, remedy: str = "restore it") -> Kind:
    """Read a JSON file and check it against its definition.

    Args:
        path: The file.
        kind: Its definition.
        newest: The newest format that this version reads, if the file names its format.
        remedy: What the user can do about a broken file.

    Raises:
        FileNotFoundError: If there is no such file.
        UserError: If it cannot be read, has a newer format, or does not fit its definition; names the wrong field.
    """
    content = read_bounded(path)
    if newest is not None:
        _refuse_newer(path, content, newest)
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"{path} is broken: {first_problem(error)}; {remedy}") from error


def read_bounded(path: AnyPath) -> bytes:
    """The bytes of a regular file of at most `LARGEST`.

    Raises:
        FileNotFoundError: If there is no such file.
        UserError: If it is larger, is not a regular file, or cannot be read.
    """
    try:
        if not isinstance(path, RemotePath) and path.exists() and not path.is_file():
            raise UserError(f"{path} is not a regular file; restore it")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (FileNotFoundError, UserError):
        raise
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise UserError(f"cannot read {str(path)!r}: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > LARGEST:
        raise UserError(f"{path} has over {LARGEST // 2**20} MB, far more than unskew writes; restore it")
    return content


def first_problem(error: ValidationError) -> str:
    """The first mistake, its place, and the number of further ones, on one line."""
    problem, *further = error.errors(include_url=False, include_context=False, include_input=True)
    where = ".".join(str(part) for part in problem["loc"])
    given = problem["input"]
    shown = f" (it is {_short(given)})" if where and isinstance(given, str | int | float | bool | None) else ""
    said = problem["msg"].removeprefix("Value error, ")
    said = f"{_short(where, 120)}: {said[:1].lower()}{said[1:]}{shown}" if where else said
    more = f" (and {len(further)} further problems)" if further else ""
    return " ".join(said.split())[:400] + more


def _short(value: Any, most: int = 60) -> str:
    text = value if isinstance(value, str) else repr(value)
    text = text if len(text) <= most else text[: most - 3] + "..."
    return repr(text) if isinstance(value, str) and most == 60 else text


def _refuse_newer(path: AnyPath, content: bytes, newest: int) -> None:
    try:
        found = _Format.model_validate_json(content, strict=True).format
    except ValidationError:
        return  # the whole definition says what is wrong
    if found > newest:
        raise UserError(
            f"{path} has format {found}, this version of unskew reads up to {newest}; "
            "upgrade with `pip install -U unskew`"
        )
