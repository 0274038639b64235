# SPDX-License-Identifier: Apache-2.0
"""Every command and program of the tutorials runs, in order, in a fresh checkout, and shows what the page shows."""

import re

import pytest

from host.site import PAGES
from host.site.commands import verbs
from tests.host.site.tutorial import Block, Reader, before, blocks, page, told

NAMES = ["start", *(f"tutorials/{path.stem}" for path in sorted((PAGES / "tutorials").glob("*.md"))
                    if path.stem != "index")]
ORDER = sorted(NAMES, key=lambda name: before(page(name)) is not None)
"""A page comes after the one on which it goes on."""
SIMULATES = re.compile(r"--device sim|make demo")


def lacking(block: Block) -> str | None:
    """The verb or option of a block that this checkout does not have."""
    known = verbs()
    for name in re.findall(r"^edge-moe (\w+)", block.text, re.MULTILINE):
        if name not in known:
            return name
    if "serve --http" in block.text and not any("--http" in option.opts for option in known["serve"].params):
        return "serve --http"
    several = re.search(r"edge-moe run \S+ \S+\.png \S+\.png", block.text) or block.name == "edge-moe.toml"
    return "config" if several and "config" not in known else None


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    """Name of a page that was read -> its reader."""
    found: dict[str, Reader] = {}
    yield found
    for reader in found.values():
        reader.close()


def read(name: str, readers, tmp_path_factory) -> list[str]:
    """Follow a page once; what was left out since this checkout lacks it."""
    first, text = before(page(name)), page(name)
    if name not in readers:
        if first is not None:
            read(f"tutorials/{first}", readers, tmp_path_factory)
            readers[name] = readers[f"tutorials/{first}"]
        else:
            readers[name] = Reader(tmp_path_factory.mktemp(name.rpartition("/")[2]))
        reader, found = readers[name], blocks(text)
        absent = {block.section: verb for block in found if (verb := lacking(block))}
        for block in found:
            if block.section not in absent:
                reader.type(block)
        reader.close()
        return [f"{section}: {verb}" for section, verb in absent.items()]
    return []


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] + [pytest.mark.rtl] * bool(
    SIMULATES.search(page(name)))) for name in ORDER])
def test_page_is_as_it_says(name, readers, tmp_path_factory):
    left_out = read(name, readers, tmp_path_factory)
    if left_out:
        pytest.skip(f"This checkout lacks what these sections use: {left_out}.")


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
    assert [(b.kind, b.text, b.status, b.stays, b.name, b.section) for b in found] == [
        ("sh", "run --device golden\n", 3, False, "", "One"), ("file", "a = 1\n", 0, False, "defaults.toml", "Two"),
        ("sh", "serve\n", 0, True, "", "Two")]
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
    (Block("sh", "exit 2\n", 7, ""), "Status 2 of the block in line 7"),
    (Block("sh", "echo other\n", 7, "", shown=["this"]), "Line 7 shows 'this', which did not come"),
    (Block("python", "raise SystemExit(1)\n", 9, ""), "Status 1 of the block in line 9")])
def test_a_page_that_is_wrong_fails(block, said, tmp_path):
    with pytest.raises(AssertionError, match=said):
        Reader(tmp_path).type(block)
