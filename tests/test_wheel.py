"""The wheel holds every room: what imports in a checkout imports where it is installed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
IMPORT_ALL = """
import importlib, pathlib, sys
sys.path.insert(0, sys.argv[1])
import unskew
home = pathlib.Path(unskew.__file__).parent
assert home == pathlib.Path(sys.argv[1]) / "unskew", home
for name in sys.argv[2:]:
    module = importlib.import_module(name)
    assert home in pathlib.Path(module.__file__).parents, module.__file__
"""


def packages():
    """Every folder of modules in the checkout, as it is called where it is installed."""
    rooms = [path.parent for path in ROOT.glob("*/__init__.py") if path.parent.name not in ("tests", "unskew")]
    folders = sorted({path.parent for room in rooms for path in room.rglob("*.py")})
    return ["unskew", *(".".join(["unskew", *folder.relative_to(ROOT).parts]) for folder in folders)]


def test_every_room_is_in_the_wheel(tmp_path):
    pip = [sys.executable, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    copy = tmp_path / "source"  # setuptools would leave its build folder in the checkout
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in files.stdout.splitlines():
        if not name.startswith(("tests/", "docs/", "benchmarks/")) and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    build = [*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", str(tmp_path), str(copy)]
    subprocess.run(build, check=True)
    [wheel] = tmp_path.glob("unskew-*.whl")
    subprocess.run([*pip, "install", *offline, "--target", str(tmp_path / "there"), str(wheel)], check=True)
    script = [sys.executable, "-c", IMPORT_ALL, str(tmp_path / "there"), *packages()]
    subprocess.run(script, cwd=tmp_path, check=True)
