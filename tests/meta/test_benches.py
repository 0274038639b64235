# SPDX-License-Identifier: Apache-2.0
"""Every component of the gateware stands in a bench: its own, or that of the one unit of its folder that it is part of.

A part is used by one module only, in the same folder, which stands in a bench itself; so what the part does wrong shows
there (`make mutants` measures that it does). Whatever more than one unit uses, or the top alone, needs its own bench.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.meta.test_rules import ROOT

WAIVED = {
    "Accelerator": "the whole machine: tests/e2e and tests/fuzz run it on the simulated board",
    "RowMemory": "tests/hw/memory/test_operand_memory.py and test_residual_memory.py build its two classes, "
                 "and tests/hw/dma/test_load_store.py uses it next to the unit",
    "BankedMemory": "tests/hw/cluster/test_key_value.py builds its two classes",
    "ClusterArrays": "wires between units that have benches, and tests/e2e/models/test_clusters.py compares every "
                     "instruction of frames on a machine with two clusters",
    "ClusterEpilogues": "the same; GateMerge, Fork and Crossbar, which it is made of, have benches",
    "ClusterSoftmaxes": "the same",
}
"""Component -> why it needs no bench of its own, and what tests it."""


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def components(folder: Path) -> dict[str, Path]:
    """Classes of the gateware that are components, with their file."""
    return {node.name: path for path in sorted(folder.rglob("*.py")) for node in tree(path).body
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("Component") for base in node.bases)}


@cache
def built(path: Path) -> set[str]:
    """Names that a file uses for more than their attributes: calls, or hands on."""
    owners = {id(node.value) for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
    return {node.id for node in ast.walk(tree(path))
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in owners}


def in_benches(folder: Path) -> set[str]:
    """Names that benches build: files that simulate something."""
    files = [path for path in folder.rglob("test_*.py") if "run_bench(" in path.read_text()]
    return {name for path in files for name in built(path)}


def without_bench(gateware: Path, benches: Path, waived: dict[str, str]) -> dict[str, str]:
    """Component -> what is missing, for those that stand in no bench."""
    found, direct = components(gateware), in_benches(benches)
    users = {name: [path for path in sorted(gateware.rglob("*.py")) if path != file and name in built(path)]
             for name, file in found.items()}

    def stands(name: str) -> bool:
        if name in direct or name in waived:
            return True
        if len(users[name]) != 1 or users[name][0].parent != found[name].parent:
            return False
        return any(stands(whole) for whole, file in found.items() if file == users[name][0] and whole != name)

    return {name: f"{file.relative_to(gateware)}: no bench, and used by "
                  f"{[str(user.relative_to(gateware)) for user in users[name]] or 'nothing'}"
            for name, file in found.items() if not stands(name)}


def test_every_unit_stands_in_a_bench():
    missing = without_bench(ROOT / "hw", ROOT / "tests" / "hw", WAIVED)
    assert not missing, missing


@pytest.mark.parametrize("name", WAIVED)
def test_what_is_waived_needs_it(name):
    assert name in components(ROOT / "hw"), f"There is no component {name}."
    assert name in without_bench(ROOT / "hw", ROOT / "tests" / "hw", {}), f"{name} stands in a bench."
    for path in re.findall(r"tests/[\w/]+(?:\.py)?", WAIVED[name]):
        assert (ROOT / path).exists(), path


def test_a_unit_without_a_bench_is_named(tmp_path):
    """Four components: one in a bench, its part, one that two units use, one that the top alone uses."""
    sources = {
        "hw/a/whole.py": "from hw.a.part import Part\nfrom hw.b.shared import Shared\n"
                         "class Whole(wiring.Component):\n    x = Part(), Shared()\n",
        "hw/a/part.py": "class Part(wiring.Component):\n    pass\n",
        "hw/b/shared.py": "class Shared(wiring.Component):\n    pass\n",
        "hw/b/alone.py": "class Alone(wiring.Component):\n    pass\n",
        "hw/top.py": "from hw.b.alone import Alone\nfrom hw.b.shared import Shared\nx = Alone(), Shared()\n",
        "tests/hw/test_whole.py": "from hw.a.whole import Whole\nfrom hw.b.alone import Alone\n"
                                  "run_bench(Whole(), latency=Alone.LATENCY)\n",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    missing = without_bench(tmp_path / "hw", tmp_path / "tests", {})
    assert set(missing) == {"Shared", "Alone"} and "top.py" in missing["Alone"]
    assert set(without_bench(tmp_path / "hw", tmp_path / "tests", {"Shared": ""})) == {"Alone"}


def coroutines(path: Path) -> set[str]:
    """Names of a file's ``@cocotb.test`` coroutines."""
    return {node.name for node in tree(path).body if isinstance(node, ast.AsyncFunctionDef)
            and any("cocotb.test" in ast.unparse(decorator) for decorator in node.decorator_list)}


def _named(call: ast.Call) -> bool:
    """Whether a ``run_bench`` names its coroutines: in a list, or in one that is a constant of the file."""
    chosen = [keyword.value for keyword in call.keywords if keyword.arg == "tests"]
    return bool(chosen) and (isinstance(chosen[0], ast.Name) or isinstance(chosen[0], ast.List) and all(
        isinstance(element, ast.Constant) for element in chosen[0].elts))


def never_run(path: Path) -> set[str]:
    """Coroutines that no bench of the file runs: all of its ``run_bench`` name others."""
    nodes = list(ast.walk(tree(path)))
    calls = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "run_bench"]
    strings = {node.value for node in nodes if isinstance(node, ast.Constant)}
    return coroutines(path) - strings if all(map(_named, calls)) else set()


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda path: path.stem)
def test_every_coroutine_runs(path):
    if coroutines(path):
        assert not never_run(path), f"{path.name}: no run_bench names {never_run(path)}"


def test_a_coroutine_in_no_list_is_found(tmp_path):
    bench = tmp_path / "test_bench.py"
    text = '@cocotb.test()\nasync def {}(dut):\n    pass\n\n'
    bench.write_text(text.format("one") + text.format("two") + 'run_bench(Unit(), module="m", tests=["one"])\n')
    assert never_run(bench) == {"two"}
    other = tmp_path / "test_other.py"
    other.write_text(bench.read_text() + 'run_bench(Unit(), module="m")\n')
    assert never_run(other) == set()
