# SPDX-License-Identifier: Apache-2.0
"""Links of the repository's pages, rewritten for the site: they hold in a checkout and in the site alike."""

import os
import posixpath
import re
from collections.abc import Callable, Mapping

from host.site import ROOT

PICTURES = (".svg", ".png", ".webp", ".gif")
_FENCED = re.compile(r"(^(?P<fence>`{3,}).*?^(?P=fence)`*$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


class BrokenLink(ValueError):
    """A page names a file that is not there."""


def rewritten(text: str, page: str, places: Mapping[str, str], picture: Callable[[str], str]) -> str:
    """``text`` of the repository's ``page``, with links as the site wants them.

    A link to a page of ``places`` leads to its name there, one to a picture to what ``picture`` returns for its path;
    one to another file of the repository is shown without leading anywhere. Raises BrokenLink for any other.
    """
    def one(match: re.Match) -> str:
        mark, shown, target = match.groups()
        if re.match(r"\w+:|#", target):
            return match[0]
        name, _, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), name))
        if path.endswith(PICTURES):
            return f"{mark}[{shown}]({_from(places[page], picture(path))})"
        if path in places:
            return f"[{shown}]({_from(places[page], places[path])}.md{f'#{anchor}' * bool(anchor)})"
        if not (ROOT / path).exists():
            raise BrokenLink(f"{page} links to {target}, which is not there.")
        return shown if "`" in shown else f"`{shown}`"

    parts = _FENCED.split(text)  # text, block, its fence, text, ...
    return "".join(_LINK.sub(one, part) if n % 3 == 0 else part * (n % 3 == 1) for n, part in enumerate(parts))


def _from(here: str, there: str) -> str:
    return os.path.relpath(there, os.path.dirname(here) or ".")
