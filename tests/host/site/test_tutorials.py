# SPDX-License-Identifier: Apache-2.0
"""Every command and program of the tutorials runs, in order, in a fresh checkout, and shows what the page shows."""

import re

import pytest

from host.site import PAGES
from tests.host.site.tutorial import Block, Reader, before, blocks, page, told

NAMES = ["start", *(f"tutorials/{path.stem}" for path in sorted((PAGES / "tutorials").glob("*.md"))
                    if path.stem != "index")]
ORDER = sorted(NAMES, key=lambda name: before(page(name)) is not None)
"""A page comes after the one on which it goes on."""
SIMULATES = re.compile(r"--device sim|make demo")


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    """Name of a page that was read -> its reader."""
    found: dict[str, Reader] = {}
    yield found
    for reader in found.values():
        reader.close()


def read(name: str, readers, tmp_path_factory) -> None:
    """Follow a page once, after the one on which it goes on."""
    if name in readers:
        return
    text = page(name)
    if (first := before(text)) is None:
        readers[name] = Reader(tmp_path_factory.mktemp(name.rpartition("/")[2]))
    else:
        read(f"tutorials/{first}", readers, tmp_path_factory)
        readers[name] = readers[f"tutorials/{first}"]
    for block in blocks(text):
        readers[name].type(block)
    readers[name].close()


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] + [pytest.mark.rtl] * bool(
    SIMULATES.search(page(name)))) for name in ORDER])
def test_page_is_as_it_says(name, readers, tmp_path_factory):
    read(name, readers, tmp_path_factory)


def test_no_tutorial_is_without_blocks():
    assert all(blocks(page(name)) for name in NAMES) and len(NAMES) == 6


def test_a_page_means_what_its_sentences_say():
    found = blocks("""# A page
## One
```sh
run --device uio
```
```{code-block} text
:class: output

came ... back
```
Tested here with `--device golden` for `--device uio`. Ends with status 3 here.
## Two
```{code-block} toml
:caption: defaults.toml

a = 1
```
```sh
serve
```
Leave it running.
""")
    assert [(b.kind, b.text, b.status, b.stays, b.name) for b in found] == [
        ("sh", "run --device golden\n", 3, False, ""), ("file", "a = 1\n", 0, False, "defaults.toml"),
        ("sh", "serve\n", 0, True, "")]
    assert found[0].shown == ["came ... back"]


def test_a_substitution_of_what_is_not_there_is_refused():
    with pytest.raises(ValueError, match="the block in line 1 has none"):
        blocks("```sh\nrun\n```\nTested here with `a` for `b`.\n")


def test_a_block_that_nothing_would_run_is_refused():
    with pytest.raises(ValueError, match="Nothing runs the block 'console'"):
        blocks("```console\n$ run\n```\n")


def test_output_is_compared_line_by_line_and_in_order():
    output = "│ model │ m3vit │\nnoise\nplan  fast\n"
    assert told(["model m3vit", "plan ..."], output) is None
    assert told(["plan fast", "model m3vit"], output) == "model m3vit"
    assert told(["plan slow"], output) == "plan slow"


@pytest.mark.parametrize("block, said", [
    (Block("sh", "exit 2\n", 7), "Status 2 of the block in line 7"),
    (Block("sh", "echo other\n", 7, shown=["this"]), "Line 7 shows 'this', which did not come"),
    (Block("python", "raise SystemExit(1)\n", 9), "Status 1 of the block in line 9")])
def test_a_page_that_is_wrong_fails(block, said, tmp_path):
    with pytest.raises(AssertionError, match=said):
        Reader(tmp_path).type(block)
