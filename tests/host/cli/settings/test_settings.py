# SPDX-License-Identifier: Apache-2.0
"""The file of defaults: which one counts, what comes before it, what is refused, and ``edge-moe config``."""

import csv
import io
import re

import pytest
from typer.main import get_command

from host.cli import app
from host.cli.settings import SHARED, file
from host.site import ROOT
from tests.host.support.commands import facts, refused

OWN = file.OWN


@pytest.fixture
def here(tmp_path, monkeypatch, edge_moe):
    """An empty working folder, and an empty folder of the user's settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(file, "OWN", OWN)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    return tmp_path


def settings(edge_moe, verb="run"):
    """(value, from, where) by option."""
    found = facts(edge_moe, "config", verb)["options"]
    assert all(row["verb"] == verb for row in found)
    return {row["option"]: (row["value"], row["from"], row["where"]) for row in found}


def test_without_a_file_all_is_built_in(here, edge_moe):
    found = settings(edge_moe)
    assert found["device"] == (["golden"], "built in", None) and found["task"] == (None, "built in", None)
    assert {origin for _, origin, _ in found.values()} == {"built in"}
    assert facts(edge_moe, "config")["file"] is None
    status, out, _ = edge_moe("config")
    assert status == 0 and out == "file: none\nEvery default is built in.\n"


def test_the_file_here_comes_before_the_variable_and_the_users(here, edge_moe, monkeypatch):
    own = here / "xdg/edge-moe/config.toml"
    own.parent.mkdir(parents=True)
    own.write_text("[run]\ntask = 'own'\n")
    assert settings(edge_moe)["task"] == ("own", "file", str(own))
    (here / "named.toml").write_text("[run]\ntask = 'named'\n")
    monkeypatch.setenv(file.VARIABLE, str(here / "named.toml"))
    assert settings(edge_moe)["task"] == ("named", "file", str(here / "named.toml"))
    (here / file.HERE).write_text("[run]\ntask = 'here'\n")
    assert settings(edge_moe)["task"] == ("here", "file", file.HERE)
    (here / file.HERE).unlink()
    monkeypatch.setenv(file.VARIABLE, "none.toml")
    assert "EDGE_MOE_CONFIG names the file none.toml, which there is not." in refused(edge_moe, "config")


def test_command_line_environment_verb_defaults_built_in(here, folder, edge_moe, monkeypatch):
    (here / file.HERE).write_text('[defaults]\ndevice = "golden:small"\nmachine = "nano"\njson = true\n[run]\n'
                                  'task = "task1"\n[serve]\nport = 1234\n')
    words = ("run", folder / "int.safetensors", folder / "cat.png")
    code, out, err = edge_moe(*words, "--device", "golden")
    assert code == 0 and '"task": "task1"' in out and '"device": "golden:nano"' in out, err
    code, out, _ = edge_moe(*words, "--device", "golden", "--task", "task0")
    assert code == 0 and '"task": "task0"' in out
    monkeypatch.setenv("EDGE_MOE_RUN_TASK", "task0")
    monkeypatch.setenv("EDGE_MOE_DEVICE", "golden:nano")
    code, out, _ = edge_moe(*words)
    assert code == 0 and '"task": "task0"' in out and '"device": "golden:nano"' in out
    monkeypatch.delenv("EDGE_MOE_DEVICE")
    monkeypatch.setenv("EDGE_MOE_RUN_DEVICE", "golden:none")
    assert "no machine 'none'" in edge_moe(*words)[2]


def test_config_tells_where_each_value_comes_from(here, edge_moe, monkeypatch):
    (here / file.HERE).write_text('[defaults]\ndevice = ["golden", "sim"]\nclock = 250\n[run]\nsave-picture = "a.png"\n'
                                  '[serve]\ndevice = "golden"\n')
    monkeypatch.setenv("EDGE_MOE_MACHINE", "nano")
    monkeypatch.setenv("EDGE_MOE_SERVE_PORT", "80")
    found = settings(edge_moe)
    assert found["device"] == (["golden", "sim"], "file", file.HERE) and found["clock"] == (250.0, "file", file.HERE)
    assert found["save-picture"] == ("a.png", "file", file.HERE)
    assert found["machine"] == ("nano", "environment", "EDGE_MOE_MACHINE")
    found = settings(edge_moe, "serve")
    assert found["device"] == ("golden", "file", file.HERE)
    assert found["port"] == (80, "environment", "EDGE_MOE_SERVE_PORT") and found["host"][1] == "built in"
    assert settings(edge_moe, "selftest")["device"] == ("uio", "built in", None)  # a list is for run only
    status, out, _ = edge_moe("config")
    assert status == 0 and out.startswith("file: edge-moe.toml\n") and "save-picture" in out and "built in" not in out
    rows = list(csv.DictReader(io.StringIO(edge_moe("config", "--csv")[1])))
    assert {row["verb"] for row in rows} == set(get_command(app).commands)
    assert "no verb 'fly'" in refused(edge_moe, "config", "fly")


@pytest.mark.parametrize("text, sentence", [
    ("device = 'sim'", "'device' stands outside of a table; options are in [defaults] or in one called like a verb."),
    ("[rum]\ntask = 'a'", "edge-moe.toml: [rum] is no verb; the nearest table is [run]."),
    ("[default]\ntask = 'a'", "the nearest table is [defaults]."),
    ("[run]\nsave_picture = 'a'", "edge-moe.toml: [run] save_picture is no option; the nearest one is save-picture."),
    ("[run]\npath = 'a'", "[run] path is no option"), ("[run]\nhelp = true", "[run] help is no option"),
    ("[defaults]\nmashine = 'nano'", "[defaults] mashine is no option; the nearest one is machine."),
    ("[serve]\nport = 'many'", "edge-moe.toml: [serve] port must be a whole number, not 'many'."),
    ("[serve]\nport = true", "[serve] port must be a whole number, not True."),
    ("[run]\nclock = 'fast'", "[run] clock must be a number, not 'fast'."),
    ("[run]\ndevice = ['sim', 1]", "[run] device must be a text or a list of texts, not ['sim', 1]."),
    ("[serve]\ndevice = ['sim']", "[serve] device must be a text, not ['sim']."),
    ("[run]\njson = 'yes'", "[run] json must be true or false, not 'yes'."),
    ("[run\n", "edge-moe.toml is not TOML: "), (b"\xff\xfe", "edge-moe.toml is not TOML: "),
    ("[run]\ntask = " + "[" * 5000, "edge-moe.toml is not TOML: "),
    ("#" * (1 << 20) + "\n", "edge-moe.toml: a file of defaults has at most 1,048,576 bytes."),
])
def test_what_is_no_default_is_refused_by_name(text, sentence, here, edge_moe):
    (here / file.HERE).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert sentence in refused(edge_moe, "info")
    assert edge_moe("--version")[0] == edge_moe("--help")[0] == 0


def test_a_value_that_makes_no_sense_is_refused_where_it_is_used(here, folder, edge_moe):
    (here / file.HERE).write_text('[defaults]\nmachine = "huge"\n')
    assert "There is no machine 'huge'" in refused(edge_moe, "run", folder / "nano.emoe", folder / "cat.png")


@pytest.mark.parametrize("unknown, nearest", [
    ("EDGE_MOE_DEVCE", "EDGE_MOE_DEVICE"), ("EDGE_MOE_RUN_SAVE_PICTURES", "EDGE_MOE_RUN_SAVE_PICTURE"),
    ("EDGE_MOE_TOKENS", "EDGE_MOE_TOKEN"), ("EDGE_MOE_CONFG", "EDGE_MOE_CONFIG")])
@pytest.mark.parametrize("words", [("config",), ("info", "--json")], ids=" ".join)
def test_a_variable_that_nothing_reads_is_warned_of(words, unknown, nearest, here, edge_moe, monkeypatch):
    monkeypatch.setenv(unknown, "1")
    status, out, err = edge_moe(*words)
    assert status == 0 and out
    assert err == f"edge-moe: warning: nothing reads the variable {unknown}; the nearest one is {nearest}.\n"


def test_every_variable_that_is_read_is_known(here, edge_moe, monkeypatch):
    """Those that a source names in quotes, and those of options."""
    named = {name for room in ("golden", "host", "sim") for path in (ROOT / room).rglob("*.py")
             for name in re.findall(r'["\'](EDGE_MOE_[A-Z_]*[A-Z])["\']', path.read_text())}
    assert {"EDGE_MOE_DATA", "EDGE_MOE_BUILD", "EDGE_MOE_TOKEN_FILE"} <= named
    for name in named | {"EDGE_MOE_RUN_TASK", "EDGE_MOE_SERVE_DEVICE"}:
        monkeypatch.setenv(name, "")
    assert edge_moe("config")[2] == ""


def test_shared_options_are_the_same_in_every_verb():
    commands = get_command(app).commands.values()
    assert all(sum(name in file.options(command) for command in commands) > 1 for name in SHARED)
