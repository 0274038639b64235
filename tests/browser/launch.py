# SPDX-License-Identifier: Apache-2.0
"""Opens the headless browser."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.browser.fetch import FOLDER


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium that reads only what the test serves; closed at the end.

    Raises ``RuntimeError`` where `make setup` has not fetched it.
    """
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
