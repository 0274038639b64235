# SPDX-License-Identifier: Apache-2.0
"""Links of the repository's pages hold in a checkout and in the site; a broken one is refused."""

from xml.etree import ElementTree

import pytest

from host.site import ROOT, places
from host.site.assemble import CONTENTS, GENERATED, assemble, filled
from host.site.figures import FIGURES
from host.site.links import BrokenLink, rewritten

NAMED = {"hw/README.md": "project/gateware", "README.md": "project/overview", "hw/doc/0001.md": "decisions/one"}


def linked(text, page="hw/README.md"):
    return rewritten(text, page, NAMED, lambda path: f"_pictures/{path.replace('/', '-')}")


@pytest.mark.parametrize("text, wanted", [
    ("[a](../README.md#measured)", "[a](overview.md#measured)"), ("[a](doc/0001.md)", "[a](../decisions/one.md)"),
    ("![a](doc/machine.svg)", "![a](../_pictures/hw-doc-machine.svg)"), ("[top](top.py)", "`top`"),
    ("[`top`](top.py)", "`top`"), ("[a](https://example.org/x.md)", "[a](https://example.org/x.md)"),
    ("[a](#rules)", "[a](#rules)"), ("```\n[a](nothing.md)\n```\n", "```\n[a](nothing.md)\n```\n")])
def test_link(text, wanted):
    assert linked(text) == wanted


def test_a_link_to_nothing_is_refused():
    with pytest.raises(BrokenLink, match="hw/README.md links to doc/none.md, which is not there"):
        linked("[a](doc/none.md)")


def test_a_missing_picture_is_refused(tmp_path):
    from host.site.assemble import Sources
    with pytest.raises(BrokenLink, match="There is no picture hw/none.svg"):
        Sources(tmp_path).picture("hw/none.svg")


def test_every_page_of_the_repository_is_in_the_site():
    pages = {str(path.relative_to(ROOT)) for folder in ("golden", "host", "hw", "sim", "tests")
             for path in (ROOT / folder).rglob("*.md")} | {path.name for path in ROOT.glob("*.md")}
    templates = {page for page in pages if "/templates/" in page}
    assert pages - templates == {page for page in places() if page.endswith(".md")}


def test_sources_are_written_once_and_what_is_left_over_is_deleted(tmp_path):
    assemble(tmp_path)
    first = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "old.md").write_text("# Old")
    assemble(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == first
    assert "## LINEAR" in (tmp_path / "reference/instructions.md").read_text()
    assert "## quantize" in (tmp_path / "reference/commands.md").read_text()
    assert "Generated from the spec" not in (tmp_path / "reference/numerics.md").read_text()
    for page, folder in CONTENTS.items():
        names = [path.stem for path in (ROOT / folder).glob("0*.md")]
        text = (tmp_path / f"{places()[page]}.md").read_text()
        assert names and all(name in text.partition("{toctree}")[2] for name in names)


def test_every_section_that_a_page_wants_is_generated():
    assert filled("<!-- begin statuses --><!-- end statuses -->") == GENERATED["statuses"]()
    with pytest.raises(KeyError):
        filled("<!-- begin nothing --><!-- end nothing -->")


@pytest.mark.parametrize("name", FIGURES)
def test_figure_stands_on_a_page(name):
    drawing, folder = FIGURES[name](), ROOT / name.rpartition("/")[0]
    root = ElementTree.fromstring(drawing.encode())
    texts = [part for part in root if part.tag.endswith("text") and part.get("text-anchor") == "start"]
    assert all(float(part.get("x")) + 5.3 * len(part.text) <= int(root.get("width")) for part in texts)
    assert any(f"]({name.rpartition('/')[2]})" in page.read_text() for page in folder.glob("*.md"))
