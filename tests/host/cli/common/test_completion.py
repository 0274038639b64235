# SPDX-License-Identifier: Apache-2.0
"""What a shell's Tab key finds: verbs, options, machines, devices, boards, tasks of a program."""

import subprocess
import sys

import pytest

from golden.spec.boards import BOARDS
from golden.spec.machine import MACHINES
from tests.host.support.devices import compiled

SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def completed(edge_moe, monkeypatch):
    """What a shell is told for a line that ends where the cursor is."""
    def asked(shell, line):
        words = line.split(" ")
        for name, value in {"_EDGE_MOE_COMPLETE": f"complete_{shell}", "COMP_WORDS": line,
                            "COMP_CWORD": str(len(words) - 1), "_TYPER_COMPLETE_ARGS": line,
                            "_TYPER_COMPLETE_FISH_ACTION": "get-args"}.items():
            monkeypatch.setenv(name, value)
        status, out, err = edge_moe()
        assert status == 0 and err == ""
        return out
    return asked


def names(shell, out):
    """The completions in a shell's own form."""
    if shell == "zsh":
        return [part.split('"')[1] for part in out.removeprefix("_arguments '*: :((").splitlines() if '"' in part]
    return [line.split("\t")[0] for line in out.splitlines()]


@pytest.mark.parametrize("shell", SHELLS)
def test_verbs_options_and_values(shell, completed):
    assert names(shell, completed(shell, "edge-moe q")) == ["quantize"]
    assert names(shell, completed(shell, "edge-moe accuracy --cyc")) == ["--cycle-budget"]
    assert names(shell, completed(shell, "edge-moe compile a -o b --machine z")) == ["zcu102"]
    assert names(shell, completed(shell, "edge-moe run --device g")) == ["golden"]
    assert names(shell, completed(shell, "edge-moe explore --board kv")) == ["kv260"]


def test_all_values(completed):
    assert completed("bash", "edge-moe compile --machine ").splitlines() == list(MACHINES)
    assert completed("bash", "edge-moe explore --board ").splitlines() == list(BOARDS)
    assert {"golden", "sim", "uio", "remote", "pynq", "xrt"} == set(
        completed("bash", "edge-moe serve --device ").splitlines())
    assert completed("bash", "edge-moe quantize --plan f").splitlines() == ["fast"]
    assert completed("bash", "edge-moe registers --format ip").splitlines() == ["ipxact"]
    assert completed("bash", "edge-moe config co").splitlines() == ["compile", "compare", "config"]


def test_tasks_of_the_program_that_is_named(completed):
    assert completed("bash", "edge-moe run nano.emoe cat.png --task ").splitlines() == list(compiled()[1].programs)
    assert completed("bash", "edge-moe disasm nano.emoe --task task1").splitlines() == ["task1"]
    for bad in ("cut.emoe", "words.emoe", "none.emoe", "directory", "pipe"):
        assert completed("bash", f"edge-moe run {bad} cat.png --task ") == "\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_a_shell(shell):
    code = "import sys; from host.cli import main; main(['--show-completion', sys.argv[1]])"
    done = subprocess.run([sys.executable, "-c", code, shell], capture_output=True, text=True, check=True,
                          env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"} | dict(__import__("os").environ))
    assert "edge-moe" in done.stdout and "_EDGE_MOE_COMPLETE" in done.stdout
