"""The house: imports between rooms run downward only, and the mathematics needs torch alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BELOW = {
    "corpus": set(),
    "balance": {"corpus"},
    "training": {"corpus", "balance"},
    "encoder": {"corpus", "balance", "training"},
    "decoder": {"corpus", "balance", "training"},
    "pipeline": {"corpus", "balance", "training", "encoder", "decoder"},
}


def rooms_imported(file):
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == len(file.relative_to(ROOT).parts):
            yield (node.module or node.names[0].name).split(".")[0]
        assert not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unskew")), file


@pytest.mark.parametrize("room", BELOW)
def test_a_room_knows_only_those_below_it(room):
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for file in files:
        assert set(rooms_imported(file)) <= BELOW[room], file


def test_balance_needs_torch_alone():
    script = (
        "import sys, unskew.balance\n"
        "heavy = {'transformers', 'lightning', 'peft', 'datasets', 'sklearn', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
