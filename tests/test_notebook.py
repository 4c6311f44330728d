"""The notebook runs from top to bottom, and shows what it says."""

import ast
import json
from pathlib import Path

NOTEBOOK = Path(__file__).parent.parent / "docs" / "newsroom.ipynb"


def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in cells)  # results belong to who runs it
    monkeypatch.chdir(tmp_path)
    values = {}
    for cell in cells:
        code = "".join(cell["source"])
        ast.parse(code)
        exec(code, values)
    assert len(values["results"]) == 3
    assert all(result.output is not None for result in values["results"])
    assert values["recall"]["uniform"] >= values["recall"]["train"]
    assert (tmp_path / "exported" / "decoder" / "model.safetensors").exists()
