"""The house: imports between rooms run downward only and through the rooms' faces; no room holds everything."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import unskew

ROOT = Path(__file__).parent.parent
STAGES = ["encoder", "decoder"]
BELOW = {
    "common": set(),
    "corpus": {"common"},
    "balance": {"common", "corpus"},
    "runtime": {"common", "corpus"},
}
BELOW["training"] = {*BELOW["balance"], "balance", "runtime"}
BELOW |= {stage: {*BELOW["training"], "training"} for stage in STAGES}
BELOW["pipeline"] = {*BELOW["encoder"], *STAGES}
ABOVE_PIPELINE = ("jobs", "evaluation", "inspection", "exporting", "serving", "tuning")
BELOW |= {room: {*BELOW["pipeline"], "pipeline"} for room in ABOVE_PIPELINE}
BELOW["ablation"] = {*BELOW["jobs"], "jobs", "evaluation"}
BELOW["cli"] = {*BELOW["ablation"], "ablation", "inspection", "exporting", "serving", "tuning"}

PUBLIC = ["HybridPipeline", "TopicClassifier", "UserError", "__version__", "audit", "evaluate", "fit", "predict"]


def files(room):
    return sorted((ROOT / room).rglob("*.py"))


def imports_of_rooms(file):
    """(room, what of it) of each import from another room."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == len(file.relative_to(ROOT).parts):
            room, _, rest = (node.module or "").partition(".")
            yield room, [*([rest] if rest else []), *(alias.name for alias in node.names)]
        assert not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unskew")), file


@pytest.mark.parametrize("room", BELOW)
def test_a_room_knows_only_those_below_it(room):
    assert files(room)
    for file in files(room):
        assert {name for name, _ in imports_of_rooms(file)} <= BELOW[room], file


@pytest.mark.parametrize("room", BELOW)
def test_rooms_are_entered_through_their_faces(room):
    for file in files(room):
        for other, names in imports_of_rooms(file):
            face = ast.parse((ROOT / other / "__init__.pyi").read_text("utf-8"))
            public = {alias.name for node in face.body if isinstance(node, ast.ImportFrom) for alias in node.names}
            modules = {path.stem for path in (ROOT / other).glob("*.py")}
            assert set(names) <= public | modules, (file, other)


def test_no_room_holds_over_a_quarter_of_the_lines():
    lines = {room: sum(len(file.read_text("utf-8").splitlines()) for file in files(room)) for room in BELOW}
    assert max(lines.values()) <= sum(lines.values()) / 4, lines


def test_tests_have_the_same_rooms():
    assert {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()} - {"__pycache__", "fixtures"} <= set(
        BELOW
    )


@pytest.mark.parametrize("room", BELOW)
def test_what_a_face_names_is_there(room):
    package = __import__(f"unskew.{room}", fromlist=["_"])
    for name in getattr(package, "__all__", []):
        assert getattr(package, name) is not None


def test_the_front_door_holds_these_names():
    assert sorted(unskew.__all__) == PUBLIC
    assert all(getattr(unskew, name) for name in PUBLIC)


def loaded_by(script, watched):
    """Which of the watched modules a fresh interpreter has loaded after a script."""
    code = f"import sys\n{script}\nprint(sorted({watched!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return found.stdout.splitlines()[-1]


def test_the_front_door_opens_without_loading_anything():
    heavy = {"torch", "transformers", "numpy", "jsonargparse", "rich"}
    assert loaded_by("import unskew", heavy) == "[]"


def test_balance_needs_torch_alone():
    heavy = {"transformers", "lightning", "peft", "datasets", "sklearn", "pandas"}
    script = "import unskew.balance as room\nfor name in room.__all__: getattr(room, name)"
    assert loaded_by(script, heavy) == "[]"


def test_the_picture_of_the_rooms_shows_the_arrows_that_there_are():
    spec = importlib.util.spec_from_file_location("rooms", ROOT / "docs" / "rooms.py")
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)
    arrows = re.compile(r'data-arrow="([\w-]+)"')
    committed = (ROOT / "docs" / "rooms.svg").read_text("utf-8")
    assert set(arrows.findall(committed)) == set(arrows.findall(drawing.draw()))
    assert {room for row in drawing.ROWS for room in row} == set(BELOW)
