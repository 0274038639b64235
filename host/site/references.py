# SPDX-License-Identifier: Apache-2.0
"""Sphinx extension: names in docstrings and signatures mean what they mean in their module.

A name that does not exist there is a warning. One that exists links to its entry where the site has one; names of other
packages, private names and constants without a docstring are shown without a link.
"""

import builtins
import inspect
import re
from importlib import import_module
from types import ModuleType
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from host.site import PACKAGES

_BARS = re.compile(r"(?<![\w\\|`])\|(\w+)\|(?![\w|`])")


class ProjectReferences(SphinxPostTransform):
    """Gives each reference its full name before Sphinx resolves it, and takes the marks off those without an entry."""

    default_priority = 1

    def run(self, **kwargs) -> None:
        del kwargs
        entries = self.env.domains.python_domain.objects
        for node in list(self.document.findall(addnodes.pending_xref)):
            if node.get("refdomain") == "py":
                target = self._entry(node, entries)
                if target is None:
                    node.replace_self(_shown(node))
                else:
                    node["reftarget"], node["refspecific"] = target, False
                    node["py:module"] = node["py:class"] = None

    @staticmethod
    def _entry(node: addnodes.pending_xref, entries) -> str | None:
        """Full name of the entry it leads to; None where it exists and has none; else what stands there."""
        written, module, scope = node["reftarget"].lstrip("."), node.get("py:module"), node.get("py:class")
        for name in (f"{module}.{scope}.{written}", f"{module}.{written}", written):
            if name in entries:
                return name
        found = _meaning(written, module, scope)
        if found is None:  # its module does not import what it speaks of
            known = {_meaning(name, None, None) for name in entries if name.endswith(f".{written}")}
            found = known.pop() if len(known) == 1 else None
        if found is None and node["reftype"] == "attr" and _set_in(module, scope, written):
            return None
        if found is None:
            return written if isinstance(node.next_node(), nodes.literal) else None  # of a docstring, of a signature
        return found if found in entries else None


def _shown(node: addnodes.pending_xref) -> list[nodes.Node]:
    """What a reader sees of a reference: of a type in a signature its name alone."""
    short = [one for one in node.findall(addnodes.pending_xref_condition) if one["condition"] == "resolved"]
    return list(short[0].children if short else node.children) or [nodes.Text(node["reftarget"])]


def _meaning(name: str, module: str | None, scope: str | None) -> str | None:
    """Where a name is defined that a docstring of ``scope`` in ``module`` uses; None where there is no such name."""
    here, parts = _module(module or ""), name.split(".")
    for place in (here, getattr(here, scope or "", None), builtins):
        if place is not None and (found := _attribute(place, parts)) is not None:
            return found
    if parts[0] not in PACKAGES:
        for package in (module or "", (module or "").rpartition(".")[0]):  # a module of its package, or next to it
            if _module(f"{package}.{name}") is not None:
                return f"{package}.{name}"
        return name if len(parts) > 1 else None  # of another package
    for count in range(len(parts), 0, -1):
        if (place := _module(".".join(parts[:count]))) is not None:
            return _attribute(place, parts[count:])
    return None


def _set_in(module: str | None, scope: str | None, name: str) -> bool:
    """Whether methods of the class ``scope`` set its attribute ``name``."""
    owner = getattr(_module(module or ""), scope or "", None)
    return isinstance(owner, type) and f"self.{name}" in inspect.getsource(owner)


def _module(name: str) -> ModuleType | None:
    """A module of the project; None where there is none of that name."""
    if name.partition(".")[0] not in PACKAGES:
        return None
    try:
        return import_module(name)
    except ModuleNotFoundError:
        return None


def _attribute(place: Any, parts: list[str]) -> str | None:
    """Full name of what is at a path from a module or class; None where nothing is."""
    owner = place
    for part in parts:
        owner, place = place, getattr(place, part, getattr(place, "__annotations__", {}).get(part))
        if place is None:
            return None
    if isinstance(place, ModuleType):
        return place.__name__
    if hasattr(place, "__qualname__"):
        return f"{place.__module__}.{place.__qualname__}"
    within = owner.__name__ if isinstance(owner, ModuleType) else f"{owner.__module__}.{owner.__qualname__}"
    return f"{within}.{parts[-1]}"


def _docstring(app, what, name, thing, options, lines: list[str]) -> None:
    """Absolute values in bars are text, no substitutions; blocks that are set in are left alone."""
    del app, what, name, thing, options
    lines[:] = [line if line.startswith(" ") else _BARS.sub(r"\\|\1\\|", line) for line in lines]


def _signature(app, what, name: str, thing, options, signature, returned):
    """Verbs of the command line: their options stand in the reference of the commands."""
    del app, thing, options
    return ("(...)", None) if what == "function" and name.startswith("host.cli.") and "Annotated" in (
        signature or "") else (signature, returned)


def setup(app: Sphinx) -> dict:
    app.add_post_transform(ProjectReferences)
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("autodoc-process-signature", _signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
