"""Writes docs/schemas.md from the definitions of the files that unskew writes: python docs/make_schemas.py."""

from pathlib import Path
from typing import Any

from unskew.ablation.compared import Comparison
from unskew.ablation.stored import StoredResults
from unskew.common import Artefact
from unskew.decoder import StoredAdapter, StoredDecoder
from unskew.evaluation.results import StoredAudit, StoredEvaluation
from unskew.inspection.results import Inspection
from unskew.jobs.manifest import JobManifest, ShardRecord
from unskew.pipeline.manifest import Manifest, Metrics

PAGE = Path(__file__).parent / "schemas.md"
ARTEFACTS: dict[str, tuple[str, type[Artefact]]] = {
    "unskew.json": ("pipeline/manifest.py", Manifest),
    "metrics.json": ("pipeline/manifest.py", Metrics),
    "decoder/decoder.json": ("decoder/stored.py", StoredDecoder),
    "decoder/adapter_config.json": ("decoder/stored.py", StoredAdapter),
    "job.json": ("jobs/manifest.py", JobManifest),
    "done/part-NNNNN.json": ("jobs/manifest.py", ShardRecord),
    "evaluation.json": ("evaluation/results.py", StoredEvaluation),
    "audit.json": ("evaluation/results.py", StoredAudit),
    "inspection.json": ("inspection/results.py", Inspection),
    "comparison.json": ("ablation/compared.py", Comparison),
    "results.json": ("ablation/stored.py", StoredResults),
}
HUGE = 10**6  # upper bounds from here on only protect readers from absurd values
INTRODUCTION = """# The files that others read

This page is made from the definitions in the code by `python docs/make_schemas.py`; a test compares the two. Each
definition is a [pydantic](https://docs.pydantic.dev) model, and its `model_json_schema()` gives JSON Schema.

Every number is finite. Readers ignore fields that are not listed, so a later version can add fields under the same
format number. A field is removed or changes its meaning only with a higher number, which readers refuse. Fields marked
*optional* may be absent.
"""


def render() -> str:
    """The page."""
    return INTRODUCTION + "".join(_artefact(name, room, kind) for name, (room, kind) in ARTEFACTS.items())


def _artefact(name: str, room: str, kind: type[Artefact]) -> str:
    schema = kind.model_json_schema(ref_template="{model}")
    parts = [
        f"\n## {name}\n\n{_line(schema['description'])} Defined in `{room}` as `{kind.__name__}`.\n",
        _table(schema),
    ]
    for nested, its in schema.get("$defs", {}).items():
        if "properties" in its:
            parts.append(f"\n**{nested}**: {_line(its.get('description', ''))}\n")
            parts.append(_table(its))
    return "".join(parts)


def _table(schema: dict[str, Any]) -> str:
    required = set(schema.get("required", []))
    lines = ["", "| field | type | meaning |", "|---|---|---|"]
    for field, its in schema["properties"].items():
        optional = "" if field in required else " *optional*"
        lines.append(f"| `{field}`{optional} | {_type(its)} | {_line(its.get('description', ''))} |")
    return "\n".join(lines) + "\n"


def _type(its: dict[str, Any]) -> str:
    if "$ref" in its:
        return "any JSON" if its["$ref"] == "JsonValue" else its["$ref"]
    if "anyOf" in its:
        return " or ".join(_type(one) for one in its["anyOf"])
    if "enum" in its:
        return " or ".join(f"`{value}`" for value in its["enum"])
    if "const" in its:
        return f"`{its['const']}`"
    kind = its.get("type", "any JSON")
    if kind == "array":
        return f"list of {_type(its.get('items', {}))}"
    if kind == "object" and isinstance(its.get("additionalProperties"), dict):
        return f"object of {_type(its['additionalProperties'])}"
    bounds = _bounds(its)
    return kind + bounds


def _bounds(its: dict[str, Any]) -> str:
    low, high = its.get("minimum", its.get("exclusiveMinimum")), its.get("maximum", its.get("exclusiveMaximum"))
    high = None if high is not None and high >= HUGE else high
    if low is not None and high is not None:
        return f" {low:g} to {high:g}"
    return f" from {low:g}" if low is not None else f" to {high:g}" if high is not None else ""


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
