# SPDX-License-Identifier: Apache-2.0
"""Opens the headless browser."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.browser.fetch import FOLDER

_OPEN: list[tuple[Browser, ExitStack]] = []
"""The browser of this process, while any test or fixture holds it: Playwright runs once in a thread."""
_HELD = [0]


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium that reads only what the test serves; closed when the last one leaves it.

    Raises ``RuntimeError`` where `make setup` has not fetched it.
    """
    if not _OPEN:
        stack = ExitStack()
        _OPEN.append((stack.enter_context(_launched()), stack))
    _HELD[0] += 1
    try:
        yield _OPEN[0][0]
    finally:
        _HELD[0] -= 1
        if not _HELD[0]:
            _OPEN.pop()[1].close()


@contextmanager
def _launched() -> Iterator[Browser]:
    program = FOLDER / "chromium"
    if not program.exists():
        raise RuntimeError(f"There is no browser in {FOLDER}; `make setup` fetches it.")
    libraries = os.pathsep.join([str(FOLDER / "lib"), str(FOLDER)])
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=program,
            args=["--headless=shell", "--no-sandbox", "--disable-gpu"],  # the sandbox needs a user that is not root
            env={**os.environ, "LD_LIBRARY_PATH": libraries, "FONTCONFIG_PATH": str(FOLDER)})
        try:
            yield opened
        finally:
            opened.close()
