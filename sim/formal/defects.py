# SPDX-License-Identifier: Apache-2.0
"""Planted defects: a harness built from a unit whose source has one small change."""

import contextlib
import importlib
import importlib.util
import sys
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader

AFFECTED = "hw", "sim.formal.properties"
"""Packages that are imported anew, so that all their parts see the changed unit."""


@dataclass(frozen=True)
class Defect:
    """``old``, which occurs once in the source of ``module``, becomes ``new``; ``claim`` must then be refuted."""

    what: str
    module: str
    old: str
    new: str
    claim: str


class _Changed(SourceFileLoader):
    """Loads a module from its source with one replacement, never from a cache."""

    def __init__(self, defect: Defect, origin: str):
        super().__init__(defect.module, origin)
        self.defect = defect

    def get_code(self, fullname):
        source = self.get_source(fullname)
        count = source.count(self.defect.old)
        if count != 1:
            raise ValueError(f"{self.defect.module} has {self.defect.old!r} {count} times; a defect replaces what "
                             "occurs once.")
        return compile(source.replace(self.defect.old, self.defect.new), self.path, "exec")


class _Finder:
    """Finds the changed module before the one on disk."""

    def __init__(self, defect: Defect):
        self.defect = defect
        self.origin = importlib.util.find_spec(defect.module).origin

    def find_spec(self, name, path=None, target=None):
        if name == self.defect.module:
            return importlib.util.spec_from_loader(name, _Changed(self.defect, self.origin), origin=self.origin)
        return None


@contextlib.contextmanager
def planted(defect: Defect):
    """Within, an import of an affected module gives one that sees the defect; afterwards all is as before."""
    def affected():
        return [name for name in sys.modules if name.startswith(tuple(f"{package}." for package in AFFECTED))
                or name in AFFECTED]

    finder = _Finder(defect)
    before = {name: sys.modules.pop(name) for name in affected()}
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in affected():
            del sys.modules[name]
        sys.modules.update(before)
