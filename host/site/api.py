# SPDX-License-Identifier: Apache-2.0
"""Pages of the API reference: one a package, with all of its modules, which autodoc fills from their docstrings."""

from pathlib import Path

from host.site import PACKAGES, ROOT

FOLDER = "reference/api"


def modules(root: Path = ROOT) -> list[str]:
    """Every module of the project that can be imported by name and is not private."""
    paths = (path.relative_to(root) for package in PACKAGES for path in sorted((root / package).rglob("*.py")))
    return [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths
            if path.stem == "__init__" or not path.stem.startswith("_")]


def packages(names: list[str]) -> dict[str, list[str]]:
    """Package -> its modules, itself first."""
    found: dict[str, list[str]] = {}
    known = {name for name in names if (ROOT / name.replace(".", "/") / "__init__.py").exists()}
    for name in names:
        found.setdefault(name if name in known else name.rpartition(".")[0], []).append(name)
    return found


def pages() -> dict[str, str]:
    """Name of each page -> its text, in reStructuredText."""
    return {f"{FOLDER}/{package}": _page(package, members) for package, members in packages(modules()).items()}


def _page(package: str, members: list[str]) -> str:
    parts = [_heading(package, "="), _documented(package)]
    for name in members:
        if name != package:
            parts += [_heading(name.removeprefix(f"{package}."), "-"), _documented(name)]
    return "\n\n".join(parts) + "\n"


def _heading(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}"


def _documented(name: str) -> str:
    return f".. automodule:: {name}\n   :members:\n   :undoc-members:\n   :show-inheritance:"


def contents() -> str:
    """Table of contents of the packages, in MyST."""
    entries = "\n".join(f"{package} <api/{package}>" for package in packages(modules()))
    return f"```{{toctree}}\n:maxdepth: 1\n\n{entries}\n```"
