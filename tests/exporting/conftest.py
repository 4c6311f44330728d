"""Exports of the shared tiny system, and the Python blocks of their READMEs, run as a newcomer would."""

import json
import re

import pytest

from unskew.exporting import ExportSettings, export
from unskew.pipeline import HARMLESS_TEXT, HybridPipeline


@pytest.fixture(scope="session")
def bundle(fitted):
    return str(fitted[1])


@pytest.fixture(scope="session")
def system(bundle):
    return HybridPipeline.from_pretrained(bundle, device="cpu")


@pytest.fixture(scope="session")
def exported(bundle, tmp_path_factory):
    """Folders by format, each written when it is first asked for."""
    folders = {}

    def write(kind):
        if kind not in folders:
            folders[kind] = tmp_path_factory.mktemp(kind) / "exported"
            export(bundle, str(folders[kind]), ExportSettings(kind))
        return folders[kind]

    return write


@pytest.fixture
def run_readme(monkeypatch):
    """Runs the README's Python blocks with another text (and topic) in the place of the example's."""

    def run(folder, text, topic=None):
        blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), flags=re.DOTALL)
        code = "\n".join(blocks).replace(json.dumps(HARMLESS_TEXT), repr(text))
        if topic is not None:
            code = re.sub(r"(?m)^(text, topic = .*), '[^']*'$", lambda found: f"{found[1]}, {topic!r}", code)
        monkeypatch.chdir(folder)
        values = {}
        exec(code, values)  # noqa: S102 what the README says
        return values

    return run
