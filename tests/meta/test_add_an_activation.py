# SPDX-License-Identifier: Apache-2.0
"""host/doc/add-an-activation.md, followed on a copy: three files, and every check of an activation holds."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "host" / "doc" / "add-an-activation.md"
CHECK = """
from amaranth.back import rtlil
from golden.spec.activations import ACTIVATIONS, CURVED
from golden.spec.isa import LIMITS, Opcode
from golden.spec.machine import NANO
from host.importers.activations import activation_named
from hw.vector.activation import Activation

new = ACTIVATIONS["quick_gelu"]
assert new.code == LIMITS[Opcode.LINEAR]["activation"][1] == 5 and new in CURVED
assert activation_named("quick_gelu", "hidden_act") == "quick_gelu"
assert "size 1024" in rtlil.convert(Activation(2)), "the table has no room for it"
print(NANO.fingerprint)
"""


def changes() -> list[tuple[str, str, str]]:
    """Path, old and new text of each block of the page."""
    found = []
    for path, block in re.findall(r"```diff\n(\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL):
        lines = block.splitlines(keepends=True)
        found.append((path, *("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))))
    return found


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The repository with the page's blocks applied."""
    to = tmp_path_factory.mktemp("copy")
    for name in ("golden", "host", "hw", "sim", "tests"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", to)
    for path, old, new in changes():
        text = (to / path).read_text()
        assert text.count(old) == 1, f"{path} has not, or not once:\n{old}"
        (to / path).write_text(text.replace(old, new))
    return to


def run(copy: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=copy, env=os.environ | {"PYTHONPATH": str(copy)},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_three_files_change():
    assert [path for path, _, _ in changes()] == [
        "golden/spec/activations.py", "golden/model/ffn.py", "host/importers/activations.py"]


def test_spec_gateware_and_importers_know_it(copy):
    from golden.spec.machine import NANO

    assert int(run(copy, "-c", CHECK)) != NANO.fingerprint


def test_every_code_of_it_is_checked(copy):
    said = run(copy, "-m", "pytest", "-q", "-s", "tests/spec/test_activations.py",
               "tests/golden/ops/test_activation.py", "-k", "quick_gelu or table or codes or every_activation")
    assert re.search(r"quick_gelu: 1\.\d+ steps", said)
