# SPDX-License-Identifier: Apache-2.0
"""Machines from files: what explore prints is taken as it is; anything else gets a sentence."""

import json
from dataclasses import asdict, replace

import pytest

from golden.files.machine_file import machine_of
from golden.spec.machine import MACHINES, NANO, ZCU102
from golden.spec.model import ConfigError

OWN = replace(ZCU102, name="own", tm=8, clusters=2, operand_rows=8192)


def written(tmp_path, content) -> str:
    path = tmp_path / "machine.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


@pytest.mark.parametrize("name", MACHINES)
def test_presets_go_by_name(name):
    assert machine_of(name) is MACHINES[name] and machine_of(MACHINES[name]) is MACHINES[name]


def test_a_file_describes_a_machine(tmp_path):
    assert machine_of(written(tmp_path, asdict(OWN))) == OWN
    assert machine_of(written(tmp_path, {"machine": asdict(OWN), "cycles": 1})) == OWN
    without = {name: value for name, value in asdict(NANO).items() if name not in ("clusters", "uram")}
    assert machine_of(written(tmp_path, without)) == NANO


def test_one_of_several_goes_by_name(tmp_path):
    other = replace(OWN, name="other", ports=2)
    path = written(tmp_path, {"board": "zcu102", "front": [{"machine": asdict(m)} for m in (OWN, other)]})
    assert machine_of(f"{path}:other") == other and machine_of(f"{path}:own") == OWN
    with pytest.raises(ConfigError, match=r"describes 2 machines; choose one, as .*machine.json:own. There are own, "):
        machine_of(path)
    with pytest.raises(ConfigError, match="has no machine 'third'; there are own, other"):
        machine_of(f"{path}:third")


@pytest.mark.parametrize("content, sentence", [
    ("{", "is not JSON"), ("[]", "does not describe a machine; wanted is an object with the fields name, tm"),
    ("3", "does not describe a machine"), ({"machine": 3}, "a machine is an object with fields, not 3"),
    (asdict(OWN) | {"lanes": 4}, "gives a machine the field 'lanes'; there are name, tm"),
    ({"name": "x", "tm": 2}, "does not say tk, ports"),
    (asdict(OWN) | {"tm": "8"}, "tm must be an integer, not '8'"),
    (asdict(OWN) | {"tm": True}, "tm must be an integer"),
    (asdict(OWN) | {"uram": 1}, "uram must be true or false, not 1"),
    (asdict(OWN) | {"tm": 3}, "tm must be 2, 4, 8 or 16, not 3"),
    (asdict(OWN) | {"tm": 4, "clusters": 4}, "tm must be at least 2 for each cluster"),
    (asdict(OWN) | {"operand_rows": 96}, "operand_rows must be a multiple of 128 for 2 clusters, not 96"),
    (asdict(OWN) | {"name": "zcu102"}, "as a preset is called that is another one"),
])
def test_anything_else_gets_a_sentence(tmp_path, content, sentence):
    with pytest.raises(ConfigError, match=sentence):
        machine_of(written(tmp_path, content))


def test_no_such_machine(tmp_path):
    with pytest.raises(ConfigError, match="There is no machine 'zcu103'; there are nano, .*or give a JSON file"):
        machine_of("zcu103")
    with pytest.raises(ConfigError, match="There is no file .*gone.json that could describe"):
        machine_of(tmp_path / "gone.json")
    big = tmp_path / "big.json"
    with big.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ConfigError, match="has 1073741824 bytes; a file that describes machines has at most"):
        machine_of(big)
