# SPDX-License-Identifier: Apache-2.0
"""The wheel ``edge-moe-driver``: the driver and the specification alone, for boards with numpy and Python 3.10.

``make driver-wheel`` copies the two packages next to a project file of their own and builds that. Not to be installed
together with ``edge-moe``, which has the same packages.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("golden/spec", "host/driver")
LEFT_OUT = ("golden/spec/boards",)
"""Records of boards for the explorer, in a format that Python 3.10 does not read."""
PROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "edge-moe-driver"
version = "{version}"
description = "Board driver of edge-moe: runs compiled vision transformers on the accelerator, here or served"
readme = "README.md"
license = "Apache-2.0"
license-files = ["LICENSE"]
requires-python = ">=3.10"
dependencies = ["numpy>=1.26"]

[project.scripts]
edge-moe-driver = "host.driver.__main__:main"

[tool.setuptools.packages.find]
include = ["golden*", "host*"]
"""
README = """# edge-moe-driver

Runs programs (`.emoe`, made by `edge-moe compile` on another computer) on the edge-moe accelerator. Needs numpy.

    edge-moe-driver doctor program.emoe                     what this board lacks
    edge-moe-driver run program.emoe picture.npy -o r.npz   one picture, uint8 height x width x 3
    edge-moe-driver serve --device uio                      lend the device to other computers

    from host.driver import Session, open_device
    with open_device("uio") as device:
        result = Session("program.emoe", device).run(picture)
"""
LONG_AGO = "315532800"
"""Time of files in the wheel, 1980: the same sources give the same bytes."""


def build(out: Path) -> Path:
    """Build the wheel into the folder ``out``. Raises CalledProcessError when pip does."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "source", Path(folder) / "made"
        for package in PACKAGES:
            for file in sorted((ROOT / package).rglob("*.py")):
                if not any(file.is_relative_to(ROOT / left) for left in LEFT_OUT):
                    _copy(file, source)
            _copy(ROOT / Path(package).parts[0] / "__init__.py", source)
        (source / "pyproject.toml").write_text(PROJECT.format(version=version))
        (source / "README.md").write_text(README)
        _copy(ROOT / "LICENSE", source)
        subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps",
                        "--no-build-isolation", "--wheel-dir", made, source],
                       check=True, env={"SOURCE_DATE_EPOCH": LONG_AGO} | os.environ, cwd=folder, timeout=600)
        wheel, = made.glob("*.whl")
        out.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(wheel, out / wheel.name))


def _copy(file: Path, to: Path) -> None:
    place = to / file.relative_to(ROOT)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, place)


def main() -> None:
    """Build the wheel and print its name."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the wheel (default: %(default)s)")
    print(build(parser.parse_args().out))


if __name__ == "__main__":
    main()
