# SPDX-License-Identifier: Apache-2.0
"""The command that takes the pictures of the documentation site."""

from dataclasses import replace

import pytest
from PIL import Image

from tests.browser import screenshots
from tests.browser.screenshots import FOLDER, LARGEST, SHOTS, Shot, take

PAGE = "<body style='margin:0;background:#fff'><div id=field style='width:50px;height:100px;background:#c00'></div>"
SHOT = Shot("field", (), "page.html", 100, 100, awaited="#field")


def test_a_picture_shows_the_page(tmp_path):
    (tmp_path / "page.html").write_text(PAGE)
    with Image.open(take(SHOT, tmp_path, tmp_path)) as taken:
        assert taken.size == (100, 100)
        colours = taken.convert("RGB")
    assert colours.getpixel((20, 50)) == (204, 0, 0) and colours.getpixel((80, 50)) == (255, 255, 255)


def test_a_picture_that_is_too_large_is_refused(tmp_path, monkeypatch):
    (tmp_path / "page.html").write_text(PAGE)
    monkeypatch.setattr(screenshots, "LARGEST", 10)
    with pytest.raises(RuntimeError, match="field.png has .* bytes, at most 10"):
        take(SHOT, tmp_path, tmp_path)


def test_a_command_that_ends_is_not_waited_for(tmp_path):
    served = replace(SHOT, made_by=("no-such-verb",), address="http://127.0.0.1:9")
    with pytest.raises(RuntimeError, match="does not answer"):
        take(served, tmp_path, tmp_path)


def test_kept_pictures_are_those_of_the_command_and_small():
    kept = {path.stem: path for path in FOLDER.glob("*.png")}
    assert set(kept) <= {shot.name for shot in SHOTS}
    assert all(path.stat().st_size <= LARGEST for path in kept.values())
