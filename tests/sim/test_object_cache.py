# SPDX-License-Identifier: Apache-2.0
"""Tests of the object cache: the library is compiled once for equal calls, everything else reaches the compiler."""

import shlex
import subprocess

import pytest

from sim import object_cache

COMPILER = """#!/bin/sh
echo call >> {calls}
for last in "$@"; do :; done
while [ "$1" != -o ]; do shift; done
cat "$last" > "$2"
exit {status}
"""


class Toolbox:
    """A compiler that copies its source and counts its calls, and a folder with one source of the library."""

    def __init__(self, folder):
        self.folder, self.calls, self.objects = folder, folder / "calls", folder / "objects"
        self.library, self.output = folder / "verilated_vpi.cpp", folder / "made.o"
        self.compiler = folder / "compiler"
        self.library.write_text("text")
        self.becomes(0)

    def becomes(self, status):
        self.compiler.write_text(COMPILER.format(calls=self.calls, status=status))
        self.compiler.chmod(0o755)

    def compile(self, *flags, source=None):
        self.output.unlink(missing_ok=True)
        call = [*shlex.split(object_cache.command(self.objects)), str(self.compiler), *flags, "-c", "-o",
                str(self.output), str(source or self.library)]
        return subprocess.run(call, cwd=self.folder).returncode

    def count(self):
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0


@pytest.fixture
def toolbox(tmp_path, monkeypatch):
    monkeypatch.delenv("OBJCACHE", raising=False)
    monkeypatch.setattr(object_cache.shutil, "which", lambda name: None)
    return Toolbox(tmp_path)


def test_the_library_is_compiled_once(toolbox):
    for _ in range(3):
        assert toolbox.compile("-Os") == 0
        assert toolbox.output.read_text() == "text"
    assert toolbox.count() == 1


def test_other_flags_another_text_or_another_compiler_make_another_object(toolbox):
    toolbox.compile("-Os")
    toolbox.compile("-O2")
    assert toolbox.count() == 2
    toolbox.library.write_text("other")
    toolbox.compile("-Os")
    assert (toolbox.count(), toolbox.output.read_text()) == (3, "other")
    (toolbox.folder / "verilated.h").write_text("a header that it may include")
    toolbox.compile("-Os")
    assert toolbox.count() == 4
    toolbox.becomes(0)
    toolbox.compile("-Os")
    assert toolbox.count() == 5


def test_sources_of_a_netlist_are_never_kept(toolbox):
    (toolbox.folder / "Vtop__ALL.cpp").write_text("netlist")
    for source in ("Vtop__ALL.cpp", toolbox.folder / "Vtop__ALL.cpp"):
        assert toolbox.compile(source=source) == toolbox.compile(source=source) == 0
    assert toolbox.count() == 4
    assert not toolbox.objects.exists()


def test_an_error_of_the_compiler_is_passed_on_and_nothing_is_kept(toolbox):
    toolbox.becomes(3)
    assert toolbox.compile() == toolbox.compile() == 3
    assert toolbox.count() == 2
    assert not toolbox.objects.exists()


def test_a_folder_that_takes_nothing_costs_time_only(toolbox):
    toolbox.objects.write_text("a file where the folder should be")
    for _ in range(2):
        assert toolbox.compile("-Os") == 0
        assert toolbox.output.read_text() == "text"
    assert toolbox.count() == 2


def test_what_the_user_or_the_machine_has_comes_first(toolbox, monkeypatch):
    monkeypatch.setattr(object_cache.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert object_cache.command(toolbox.objects) == "ccache"
    monkeypatch.setenv("OBJCACHE", "sccache")
    assert object_cache.command(toolbox.objects) == "sccache"
