# SPDX-License-Identifier: Apache-2.0
"""The site is built without a warning, has every public name, and needs nothing but itself to be read."""

import ast
import json
import os
import re
import subprocess
import sys

import pytest
from sphinx.util.inventory import InventoryFile

from host.site import PAGES, ROOT, api, build
from tests.browser.launch import browser

NOTEBOOKS = sorted(PAGES.rglob("*.ipynb"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run([sys.executable, "-m", "host.site.build", "--out", str(out / "html"), "--work", str(out)],
                          cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out / "html"


def public(module: str) -> set[str]:
    """A module's name, and those of its functions, classes and their methods that are not private, from its source."""
    path = ROOT / module.replace(".", "/")
    source = package if (package := path / "__init__.py").exists() else path.with_suffix(".py")

    def names(body, prefix):
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_":
                yield f"{prefix}.{node.name}"
                if isinstance(node, ast.ClassDef):
                    yield from names(node.body, f"{prefix}.{node.name}")

    return {module, *names(ast.parse(source.read_text()).body, module)}


@pytest.mark.slow
def test_every_public_name_has_an_entry(site):
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    entries = {name for kind, names in inventory.data.items() if kind.startswith("py:") for name in names}
    wanted = set().union(*map(public, api.modules()))
    assert len(wanted) > 2500 and not wanted - entries, sorted(wanted - entries)[:20]


@pytest.mark.slow
def test_notebooks_show_what_they_computed(site):
    maps, cycles = ((site / f"tutorials/{path.stem}.html").read_text() for path in reversed(NOTEBOOKS))
    assert re.search(r"(8\d|9\d)% of the pixels have the right class", maps) and maps.count("_images/") >= 2
    found = dict(re.findall(r"(\w+) +fast +([\d,]+) cycles", cycles))
    assert int(found["u280"].replace(",", "")) < int(found["zcu102"].replace(",", "")) < 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize("width", [1360, 390], ids=["desktop", "phone"])
def test_pages_are_read_offline_and_fit_the_window(site, width):
    asked, errors = [], []
    with browser() as opened:
        page = opened.new_page(viewport={"width": width, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(error))
        for name in ("index", "tutorials/run-a-picture", "tutorials/look-at-the-maps", "reference/instructions",
                     "comparison"):
            page.goto((site / f"{name}.html").as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth)"), name
    assert not errors and not [url for url in asked if not url.startswith(("file:", "data:"))]


@pytest.mark.slow
def test_the_search_finds_a_name_offline(site):
    with browser() as opened:
        page = opened.new_page()
        page.goto(f"{(site / 'search.html').as_uri()}?q=Session")
        page.locator("#search-results a", has_text="Session").first.wait_for(timeout=20_000)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path):
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


def built(page: str, tmp_path, monkeypatch) -> int:
    """Status of a site of one page."""
    def one_page(folder):
        folder.mkdir(parents=True)
        (folder / "index.rst").write_text(f"One page\n========\n\n{page}\n")

    monkeypatch.setattr(build, "assemble", one_page)
    return build.build(tmp_path / "out", tmp_path / "work", ["-Q"])


NAMES = """
.. automodule:: host.driver.result
   :members:

.. autoclass:: golden.files.errors.ModelFileError

.. py:currentmodule:: golden.model.params

:class:`numpy.ndarray`, :data:`golden.spec.model.POOLS`, :class:`ModelFileError`, :class:`OSError`,
:mod:`host.driver.result`, :meth:`host.driver.result.Result.by_task`
"""


def test_names_mean_what_they_mean_in_their_module(tmp_path, monkeypatch):
    assert built(NAMES, tmp_path, monkeypatch) == 0
    text = (tmp_path / "out/index.html").read_text()
    assert 'href="#host.driver.result.Result.by_task"' in text and "ndarray" in text and "ModelFileError" in text


@pytest.mark.parametrize("page", [":func:`host.driver.session.no_such_name`", ":class:`NoSuchName`", ":doc:`nowhere`"])
def test_a_warning_fails_the_build(page, tmp_path, monkeypatch):
    assert built(f".. py:currentmodule:: host.driver.session\n\n{page}", tmp_path, monkeypatch) != 0
