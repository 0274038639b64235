# SPDX-License-Identifier: Apache-2.0
"""``make screenshots``: pictures for the documentation site, taken in the headless browser, into host/site/pictures.

Each is data: what makes the page, where it is, how large the window is. A seeded model and a rendered scene make it
repeatable.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from host.models import STREET_MODEL
from host.site import ROOT
from tests.browser.launch import browser

FOLDER = ROOT / "host" / "site" / "pictures"
LARGEST = 300_000
"""Bytes of a picture that may be kept in the repository."""
READY_SECONDS = 120


@dataclass(frozen=True)
class Shot:
    """One picture. ``made_by``: words after ``edge-moe``; ``address``: file in the folder of the work, or where a
    command that keeps running serves the page; ``picture``: dropped on the page's first file input; ``awaited``:
    selector of what must be there before the picture is taken."""

    name: str
    made_by: Sequence[str]
    address: str
    width: int = 1200
    height: int = 800
    picture: bool = False
    awaited: str = "body"

    @property
    def served(self) -> bool:
        return self.address.startswith("http")


SHOTS = (
    Shot("report", ("report", "street.emoe", "scenes/image/s1-000000.png", "-o", "report.html"), "report.html"),
    Shot("service", ("serve", "--http", "street.emoe", "--device", "golden"), "http://127.0.0.1:8000", picture=True,
         awaited="#results[aria-busy=false] #shown:not([hidden]) figure"),
)


def _edge_moe(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "host.cli", *words]


def prepare(folder: Path) -> None:
    """The street model as a program, and rendered scenes, in ``folder``."""
    for words in (("quantize", str(STREET_MODEL), "-o", "street.q.safetensors", "--crops", "8"),
                  ("compile", "street.q.safetensors", "-o", "street.emoe"), ("scenes", "-o", "scenes", "--count", "1")):
        _run(folder, words)


def _run(folder: Path, words: Sequence[str]) -> None:
    subprocess.run(_edge_moe(words), cwd=folder, check=True, stdout=subprocess.DEVNULL, env=_environment())


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def take(shot: Shot, folder: Path, to: Path = FOLDER) -> Path:
    """Make the page of ``shot`` in ``folder`` and take its picture. Raises RuntimeError where it does not answer, or
    the picture is too large to be kept."""
    process = None
    if shot.served:
        process = subprocess.Popen(_edge_moe(shot.made_by), cwd=folder, env=_environment())
    elif shot.made_by:
        _run(folder, shot.made_by)
    try:
        if process is not None:
            _wait(shot.address, process)
        path = to / f"{shot.name}.png"
        _photograph(shot, folder, path)
    finally:
        if process is not None:
            process.terminate()
            process.wait(30)
    if path.stat().st_size > LARGEST:
        raise RuntimeError(f"{path.name} has {path.stat().st_size} bytes, at most {LARGEST} are kept: take a smaller "
                           "window.")
    return path


def _photograph(shot: Shot, folder: Path, path: Path) -> None:
    from PIL import Image

    with browser() as opened:
        page = opened.new_page(viewport={"width": shot.width, "height": shot.height})
        page.goto(shot.address if shot.served else (folder / shot.address).absolute().as_uri())
        if shot.picture:
            page.locator("input[type=file]").first.set_input_files(folder / "scenes/image/s1-000000.png")
        page.locator(shot.awaited).first.wait_for(timeout=60_000)
        page.wait_for_timeout(500)  # typefaces and drawings
        page.screenshot(path=path)
    with Image.open(path) as taken:  # a palette is enough for pages, and a third of the bytes
        reduced = taken.convert("RGB").quantize(256)
    reduced.save(path, optimize=True)


def _wait(address: str, process: subprocess.Popen) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.3)
    raise RuntimeError(f"{address} does not answer within {READY_SECONDS} s; see what the command said.")


def main(arguments: list[str] | None = None) -> int:
    names = [shot.name for shot in SHOTS]
    parser = argparse.ArgumentParser(prog="make screenshots", description=__doc__)
    parser.add_argument("--only", choices=names, action="append", help="one of them; may be given several times")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        for shot in SHOTS:
            if shot.name in (options.only or names):
                print(take(shot, Path(folder)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
