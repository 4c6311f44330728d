"""What `gpu.py` needs: packages, models, rows, a device. Knows files and packages' metadata; imports torch at most."""

import platform
import shlex
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
TESTS = ("pytest", "hypothesis")
OFFLINE = """without a network here, fetch wheels where there is one, and install them here, until none is missing:
    python3 -m pip download --no-deps --only-binary=:all: --python-version {python} --platform {system} \\
        -d wheels {names}
    python3 -m pip install --no-index --no-deps wheels/*.whl
    python3 -m pip install --no-index --no-deps --no-build-isolation --editable ."""


def problems(models: dict[str, Path], rows: dict[str, Path], device: str) -> list[str]:
    """What is missing, a line each, and how packages are installed without a network.

    Args:
        models: Folders of models, by option.
        rows: Files of rows, by option.
        device: Torch's name of a device.
    """
    packages = list(needed_packages())
    found = [f"not installed: {', '.join(packages)}"] if packages else []
    found += [f"--{option}: {folder} has no config.json" for option, folder in models.items() if not has_model(folder)]
    found += [f"--{option}: there is no file {file}" for option, file in rows.items() if not file.is_file()]
    if device.startswith("cuda") and not any(name.startswith("torch") for name in packages):
        import torch

        if not torch.cuda.is_available():
            found.append("--device: torch sees no GPU (a rehearsal without one: make gpu DEVICE=cpu ROWS=8)")
    return [*found, remedy(packages)] if packages else found


def has_model(folder: Path) -> bool:
    """Whether a folder has a model."""
    return (folder / "config.json").is_file()


def needed_packages() -> list[str]:
    """Requirements that are not met: this package's, those of its tests, and this package itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *TESTS, project["name"]]
    return sorted(set(unmet(map(Requirement, wanted), {project["name"], "torch"})))


def unmet(requirements: Iterable[Requirement], seen: set[str]) -> Iterator[str]:
    """Requirements that are not met; of what those in turn require, only what is not installed at all.

    Packages in `seen` are not looked into: torch may be built with a CUDA that is not a package.
    """
    for requirement in requirements:
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            yield str(requirement)
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            yield str(requirement)
        elif requirement.name not in seen or requirement.extras:
            seen.add(requirement.name)
            yield from unmet(required_by(requirement), seen)


def required_by(requirement: Requirement) -> list[Requirement]:
    """What an installed package requires on this system with the extras asked for, in any version."""
    lines = map(Requirement, requires(requirement.name) or [])
    extras = ("", *requirement.extras)
    needed = [line for line in lines if line.marker is None or any(line.marker.evaluate({"extra": e}) for e in extras)]
    return [Requirement(line.name) for line in needed]


def remedy(packages: list[str]) -> str:
    """How these are installed without a network."""
    names = shlex.join(name for name in packages if name != "unskew")
    system = f"manylinux_2_28_{platform.machine()}"
    return OFFLINE.format(python=f"{sys.version_info.major}.{sys.version_info.minor}", system=system, names=names)
