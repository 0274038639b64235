# SPDX-License-Identifier: Apache-2.0
"""The stand-in of PYNQ has the signatures of PYNQ itself, read from the sources of its release without running them.

pyxrt is no package of an index: its stand-in follows ``src/python/pybind11/src/pyxrt.cpp`` of Xilinx/XRT, read by hand:
2021's file binds kernel.read_register and write_register, that of commit 00f9022b (2025) neither, nor ``xrt::ip``.
"""

import ast
import inspect
import subprocess
import sys
import tarfile

import pytest

from tests.host.support import packages

RELEASE = "4.0.0"
PLACES = {("Overlay", "__init__"): "overlay", ("MMIO", "__init__"): "mmio", ("MMIO", "read"): "mmio",
          ("MMIO", "write"): "mmio", ("Interrupt", "__init__"): "interrupt", ("Interrupt", "wait"): "interrupt",
          ("PynqBuffer", "sync_to_device"): "buffer", ("PynqBuffer", "sync_from_device"): "buffer",
          (None, "allocate"): "buffer"}
WRITE = "write_mm"
"""What MMIO.write is on a board: the constructor sets it."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """module -> text of the released PYNQ."""
    folder = tmp_path_factory.mktemp("pynq")
    done = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
                           "--no-binary", ":all:", f"pynq=={RELEASE}"], cwd=folder, capture_output=True, text=True,
                          timeout=400)
    if done.returncode:
        pytest.skip(f"pip cannot fetch the sources of pynq {RELEASE} here: {done.stderr.strip().splitlines()[-1]}")
    with tarfile.open(folder / f"pynq-{RELEASE}.tar.gz") as archive:
        return {module: archive.extractfile(f"pynq-{RELEASE}/pynq/{module}.py").read().decode()
                for module in {*PLACES.values(), "ps"}}


def function(text, owner, name):
    tree = ast.parse(text)
    body = tree.body if owner is None else next(
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == owner).body
    return next(node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name)


def parameters(node):
    """Names with defaults as text, and how the rest is taken."""
    given = node.args
    names = [each.arg for each in given.args]
    defaults = [ast.unparse(each) for each in given.defaults]
    return dict(zip(names, [None] * (len(names) - len(defaults)) + defaults, strict=True)), \
        given.kwarg and given.kwarg.arg


@pytest.mark.parametrize("owner, name", PLACES, ids=lambda each: str(each))
def test_the_stand_in_has_the_signature_of_the_release(sources, owner, name):
    text = sources[PLACES[owner, name]]
    real = function(text, owner, WRITE if (owner, name) == ("MMIO", "write") else name)
    package = packages.pynq(packages.Machine())
    mine = packages.PynqBuffer if owner == "PynqBuffer" else getattr(package, owner or name)
    source = inspect.getsource(mine if owner is None else getattr(mine, name))
    ours = ast.parse("if True:\n" + source if source[0] == " " else source).body[0]
    ours = ours.body[0] if isinstance(ours, ast.If) else ours
    assert type(ours) is type(real) and parameters(ours) == parameters(real)


def test_what_the_road_reads_is_what_the_release_has(sources):
    assert "self.interrupt_pins" in sources["overlay"] and "self.ip_dict" in sources["overlay"]
    assert "self.write = self.write_mm" in sources["mmio"] and "type(data) is int" in sources["mmio"]
    assert "self.device_address = device_address" in sources["buffer"] and "def fclk0_mhz(cls)" in sources["ps"]
