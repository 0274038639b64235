# SPDX-License-Identifier: Apache-2.0
"""``--json`` and ``--csv``: every verb with figures has both; JSON without NaN, CSV as RFC 4180 has it, unrounded."""

import csv
import io
import json

import numpy as np
import pytest
from typer.main import get_command

from golden.spec.regs import REGISTERS
from host.cli import app
from host.cli.output import CsvRows, Told, flat, plain, print_csv, print_json
from host.compiler.disassemble import COLUMNS
from tests.host.support.commands import facts, refused
from tests.host.support.devices import compiled

WITHOUT = {"serve": "runs until it is stopped, and prints what happens"}
WORDS = {
    "info": ("info",), "a model": ("info", "float.safetensors"), "a program": ("info", "nano.emoe"),
    "run": ("run", "nano.emoe", "cat.png"), "scales": ("run", "nano.emoe", "cat.png", "--scales", "1"),
    "several": ("run", "classifier.safetensors", "cat.png", "cat.png", "--machine", "nano"),
    "report": ("report", "nano.emoe", "cat.png", "-o", "run.html"),
    "disasm": ("disasm", "nano.emoe"), "registers": ("registers", "--machine", "nano"),
    "compile": ("compile", "int.safetensors", "-o", "form.emoe", "--machine", "nano"), "config": ("config", "run"),
    "selftest": ("selftest", "--device", "golden", "--machine", "nano"), "doctor": ("doctor",),
}


def table(text):
    """Rows of CSV by their columns; every line ends as RFC 4180 says, and all are of one length."""
    assert text.endswith("\r\n")
    names, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert len(set(names)) == len(names) and all(len(row) == len(names) for row in rows)
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_every_verb_has_both_or_a_reason():
    for name, verb in get_command(app).commands.items():
        options = {text for parameter in verb.params for text in parameter.opts}
        assert name in WITHOUT or {"--json", "--csv"} <= options, name


@pytest.mark.parametrize("what", WORDS)
def test_json_is_one_object_and_csv_a_table(what, edge_moe):
    status, out, _ = edge_moe(*WORDS[what], "--json")
    assert status == (1 if what == "doctor" else 0) and len(out.splitlines()) == 1
    assert isinstance(json.loads(out, parse_constant=pytest.fail), dict)
    status, out, _ = edge_moe(*WORDS[what], "--csv")
    assert status == (1 if what == "doctor" else 0) and table(out)
    assert "choose one" in refused(edge_moe, *WORDS[what], "--json", "--csv")


def test_a_row_for_each_picture_in_both_forms(edge_moe):
    rows = table(edge_moe(*WORDS["several"], "--csv")[1])
    found = facts(edge_moe, *WORDS["several"])
    assert [row["picture"] for row in rows] == ["cat.png"] * 2 and found["pictures"] == 2
    for row, result in zip(rows, found["results"], strict=True):
        assert float(row["mean"]) == result["mean"] == found["mean"] and row["cycles"] == ""
        assert int(row["top_class"]) == result["top_class"] == found["top_classes"][0]["class"]
        assert float(row["top_score"]) == found["top_classes"][0]["score"]


def test_instructions_and_registers_as_rows(edge_moe):
    rows, image = table(edge_moe(*WORDS["disasm"], "--csv")[1]), compiled()[1]
    assert tuple(rows[0]) == COLUMNS and len(rows) == sum(map(len, image.symbols.values()))
    assert [int(row["cycles"]) for row in rows] == [s.cycles for group in image.symbols.values() for s in group]
    assert rows[0]["text"].startswith(rows[0]["opcode"])
    assert table(edge_moe("disasm", "nano.emoe", "--task", "task1", "--csv")[1])[0]["program"] == "task1"
    rows = table(edge_moe(*WORDS["registers"], "--csv")[1])
    assert [int(row["offset"]) for row in rows if not row["field"]] == [register.offset for register in REGISTERS]
    fingerprint = next(row for row in rows if row["register"] == "FINGERPRINT")
    assert int(fingerprint["reset"]) == compiled()[1].machine.fingerprint
    assert "leave -o out" in refused(edge_moe, "registers", "--csv", "-o", "x.csv")


def test_a_comparison_without_differences_has_the_names_only(edge_moe, tmp_path):
    for name in ("a", "b"):
        facts(edge_moe, "run", "nano.emoe", "cat.png", "--dump", tmp_path / name)
    status, out, _ = edge_moe("compare", tmp_path / "a", tmp_path / "b", "--csv")
    assert status == 0 and out == "name,place,a,b,count,values\r\n"


def test_numbers_are_whole_and_none_is_no_number(capsys):
    third = np.float32(1) / 3
    print_json({"a": float("nan"), "b": [float("inf"), third], "c": np.arange(2), "d": Told(0.1 + 0.2, "about 0.3")})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, float(third)], "c": [0, 1],
                                                   "d": 0.30000000000000004}
    print_csv([{"text": 'a "b", c\nd', "none": None, "nan": float("nan"), "list": [1, 2], "yes": True, "x": 0.1 + 0.2}])
    assert table(capsys.readouterr().out) == [{"text": 'a "b", c\nd', "none": "", "nan": "", "list": "[1, 2]",
                                               "yes": "true", "x": "0.30000000000000004"}]
    assert flat({"a": {"b": {"c": 1}}, "d": 2}) == {"a.b.c": 1, "d": 2} and plain((1, None)) == [1, None]


def test_rows_are_printed_as_they_come(capsys):
    printed = CsvRows(("a", "b"))
    printed({"b": 2, "a": 1})
    assert capsys.readouterr().out == "a,b\r\n1,2\r\n"
    printed({"a": 3, "b": 4})
    printed.close()
    assert capsys.readouterr().out == "3,4\r\n"
