# SPDX-License-Identifier: Apache-2.0
"""Puts together the sources of the site: pages of the repository with their links, generated pages, pictures."""

import re
import shutil
from pathlib import Path

from host.report import comparison
from host.report.pages import SECTIONS
from host.site import CUT, ROOT, api, places
from host.site.commands import commands
from host.site.figures import FIGURES
from host.site.links import BrokenLink, rewritten

GENERATED = SECTIONS | comparison.FIGURES | {"commands": commands, "api": api.contents}
"""What stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` in a page."""


CONTENTS = {"golden/doc/README.md": "golden/doc/", "hw/doc/README.md": "hw/doc/"}
"""Page that lists the pages of a folder."""


class Sources:
    """A folder that Sphinx reads. Files are written where they changed, so that a second build does what is new."""

    def __init__(self, folder: Path):
        self.folder, self.written = folder, set()

    def write(self, name: str, content: str | bytes) -> None:
        path = self.folder / name
        data = content.encode() if isinstance(content, str) else content
        if not path.exists() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self.written.add(path)

    def picture(self, path: str) -> str:
        """Take over a picture of the repository, or a drawing; its name among the sources."""
        name = f"_pictures/{path.replace('/', '-')}"
        if path in FIGURES:
            self.write(name, FIGURES[path]())
        elif (ROOT / path).exists():
            self.write(name, (ROOT / path).read_bytes())
        else:
            raise BrokenLink(f"There is no picture {path}.")
        return name

    def remove_others(self) -> None:
        """Delete what an earlier build wrote and this one did not."""
        for path in self.folder.rglob("*"):
            if path.is_file() and path not in self.written:
                path.unlink()


def assemble(folder: Path) -> None:
    """Write all sources into ``folder``. Raises BrokenLink for a link to a file that is not there."""
    sources, named = Sources(folder), places()
    for page, name in named.items():
        text = (ROOT / page).read_text()
        if page.endswith(".ipynb"):
            sources.write(f"{name}.ipynb", text)
        else:
            text = text.partition(CUT[page])[0] if page in CUT else text
            text += _contents(page, named) if page in CONTENTS else ""
            sources.write(f"{name}.md", rewritten(filled(text), page, named, sources.picture))
    for name, text in api.pages().items():
        sources.write(f"{name}.rst", text)
    sources.remove_others()


def _contents(page: str, named: dict[str, str]) -> str:
    """Hidden table of contents of the pages next to ``page``."""
    inside = [Path(name).name for path, name in named.items() if path.startswith(CONTENTS[page]) and path != page]
    return "\n".join(["", "```{toctree}", ":hidden:", "", *inside, "```", ""])


def filled(text: str) -> str:
    """``text`` with each generated section as its generator writes it; instructions get headings of their own."""
    def section(match: re.Match) -> str:
        made = GENERATED[match[1]]()
        if match[1] == "instructions":
            made = re.sub(r"^\*\*(\w+)\*\* \((.*?)\)\. ", r"## \1\n\n*\2.* ", made, flags=re.MULTILINE)
        return made

    return re.sub(r"<!-- begin ([\w-]+) -->.*?<!-- end \1 -->", section, text, flags=re.DOTALL)


def clear(folder: Path) -> None:
    """Remove a folder of an earlier build."""
    shutil.rmtree(folder, ignore_errors=True)
