# SPDX-License-Identifier: Apache-2.0
"""Repository rules: licence lines, reference models, packages from this checkout, lengths of files
and functions."""

import ast
import importlib
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / name for name in subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py", "*.cpp", "Makefile", "*.toml", ".ci/run"],
    cwd=ROOT, capture_output=True, text=True, check=True).stdout.split() if (ROOT / name).exists()]
PYTHON = [path for path in SOURCES if path.suffix == ".py"]
LONGEST = 300
FULLEST = 15
LONGEST_FUNCTION = 80
REFERENCE_MODELS = {  # gateware with arithmetic of its own -> the reference model that says what it must produce
    "array/array": "matmul", "vector/epilogue/epilogue": "epilogue", "vector/requantize": "epilogue",
    "vector/activation": "activation",
    "arith/block_quantize": "arith", "vector/softmax/softmax": "softmax", "vector/softmax/scores": "softmax",
    "vector/softmax/probabilities": "softmax", "vector/softmax/division": "arith",
    "vector/layernorm/layernorm": "layernorm",
    "vector/layernorm/statistics": "layernorm", "vector/layernorm/lanes": "layernorm", "arith/exp2": "softmax",
    "arith/reciprocal": "arith", "arith/rsqrt": "arith", "arith/round_shift": "arith", "moe/gate": "gate",
    "moe/logit_loader": "gate", "moe/gate_scores": "gate", "moe/gate_powers": "gate", "moe/gate_weights": "gate",
    "moe/top_k": "gate", "dma/upsample/upsample": "upsample", "dma/upsample/lanes": "upsample",
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_source_names_its_licence(path):
    assert "SPDX-License-Identifier: Apache-2.0" in "".join(path.read_text().splitlines(keepends=True)[:2])


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_too_long(path):
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST, f"{path.name} has {lines} lines; one idea a file, at most {LONGEST}."


@pytest.mark.parametrize("path", [p for p in PYTHON if p.is_relative_to(ROOT / "hw")],
                         ids=lambda path: str(path.relative_to(ROOT)))
def test_no_function_of_the_gateware_is_two_ideas_long(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines, name = node.end_lineno - node.lineno + 1, f"{path.relative_to(ROOT)}:{node.name}"
            assert lines <= LONGEST_FUNCTION, f"{name} has {lines} lines; at most {LONGEST_FUNCTION}."


@pytest.mark.parametrize("room", sorted({path.parent for path in PYTHON}), ids=lambda room: str(room.relative_to(ROOT)))
def test_no_room_is_crowded(room):
    files = sorted(path.stem for path in PYTHON if path.parent == room and path.stem != "__init__")
    assert len(files) <= FULLEST, f"{room.name} holds {len(files)} files side by side, at most {FULLEST}: {files}."


@pytest.mark.parametrize("package", ["golden", "hw", "host", "sim"])
def test_packages_are_those_of_this_checkout(package):
    assert Path(importlib.import_module(package).__file__).is_relative_to(ROOT)


@pytest.mark.parametrize("unit", sorted(REFERENCE_MODELS))
def test_arithmetic_units_name_their_reference_model(unit):
    assert (ROOT / "golden" / "ops" / f"{REFERENCE_MODELS[unit]}.py").exists()
    text = (ROOT / "hw" / f"{unit}.py").read_text()
    assert re.search(rf"golden[./]ops[./]{REFERENCE_MODELS[unit]}\b|golden\.ops\.{REFERENCE_MODELS[unit]}", text), (
        f"hw/{unit}.py does not name golden.ops.{REFERENCE_MODELS[unit]} as its reference model.")


def test_no_path_of_a_machine_is_written_down():
    pattern = re.compile(r"(?<![\w.])/(?:work|root|home|tmp|opt)/")
    lines = [(path, i, line) for path in SOURCES if path != Path(__file__)
             for i, line in enumerate(path.read_text().splitlines(), 1)]
    found = [f"{path.relative_to(ROOT)}:{i}" for path, i, line in lines if pattern.search(line)]
    assert not found, f"Machine paths stand in {found}."
