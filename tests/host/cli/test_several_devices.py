# SPDX-License-Identifier: Apache-2.0
"""``serve`` in a process, ``--device remote:...``, and ``run`` of a folder on several devices."""

import os
import signal
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from host.driver.remote.token import FILE, VALUE
from host.images import fitted, read_picture
from tests.host.support.commands import facts
from tests.host.support.devices import compiled
from tests.host.support.served import address_of

PICTURES = 7


@pytest.fixture
def drive(folder, tmp_path):
    """A folder of pictures, each another."""
    pixels = fitted(read_picture(folder / "cat.png"), compiled()[1].model)
    (tmp_path / "drive").mkdir()
    for number in range(PICTURES):
        PIL.Image.fromarray(np.roll(pixels, 5 * number, 1)).save(tmp_path / f"drive/{number}.png")
    return tmp_path / "drive"


@pytest.fixture
def served(tmp_path, monkeypatch):
    """`edge-moe serve` of a golden nano: (process, address)."""
    monkeypatch.delenv(VALUE, raising=False)
    monkeypatch.setenv(FILE, str(tmp_path / "token"))
    command = [sys.executable, "-m", "host.cli", "serve", "--device", "golden", "--machine", "nano", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as server:
        try:
            yield server, address_of(server)
        finally:
            server.kill()


def test_a_folder_on_several_devices_gives_what_one_gives(edge_moe, folder, drive, served, tmp_path):
    server, address = served
    alone, shared = tmp_path / "alone.npz", tmp_path / "shared.npz"
    facts(edge_moe, "run", folder / "nano.emoe", drive, "-o", alone)
    found = facts(edge_moe, "run", folder / "nano.emoe", drive, "-o", shared, "--device", "golden:nano", "--device",
                  f"remote:{address}")
    with np.load(alone) as one, np.load(shared) as other:
        assert set(one) == set(other) and len(one["features"]) == PICTURES
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    counts = {each.rpartition(": ")[0]: int(each.rpartition(": ")[2].split()[0]) for each in
              found["device"].split(", ")}
    assert sum(counts.values()) == PICTURES and set(counts) <= {"golden:nano", f"golden:nano at {address}"}
    assert found["pictures_per_second"] > 0 and 0 < found["job_milliseconds"]["p50"] <= found["job_milliseconds"]["p99"]
    server.send_signal(signal.SIGTERM)
    assert server.wait(20) == 0 and "golden:nano is closed" in server.stdout.read()


def test_one_picture_and_the_self_test_on_a_served_device(edge_moe, folder, served):
    _, address = served
    found = facts(edge_moe, "run", folder / "nano.emoe", folder / "cat.png", "--device", f"remote:{address}")
    assert found["device"] == f"golden:nano at {address}"
    status, out, _ = edge_moe("selftest", "--device", f"remote:{address}")
    assert status == 0 and "failed" not in out


def test_a_client_without_the_token_ends_with_a_sentence(edge_moe, folder, served, tmp_path):
    _, address = served
    (tmp_path / "token").write_text("another token, as long as it must be\n")
    status, _, said = edge_moe("run", folder / "nano.emoe", folder / "cat.png", "--device", f"remote:{address}")
    assert status == 1 and said == ("edge-moe: NotAllowed: The token is not the one of this server: copy the file that "
                                    "`edge-moe serve` names.\n")


@pytest.mark.parametrize("more", [("cat.png",), ("drive", "--scales", "1,2"), ("drive", "--uio", "uio0")])
def test_several_devices_want_a_folder(edge_moe, folder, drive, more):
    name, *options = more
    picture = drive if name == "drive" else folder / name
    status, _, said = edge_moe("run", folder / "nano.emoe", picture, *options, "--device", "golden:nano", "--device",
                               "golden:nano")
    assert status == 2 and "Several devices share a folder of pictures" in said


def test_devices_that_are_not_one_machine_are_refused(edge_moe, folder, drive):
    devices = ("--device", "golden:nano", "--device", "golden:small")
    status, _, said = edge_moe("run", folder / "nano.emoe", drive, *devices)
    assert status == 2 and "VersionMismatch: The devices of a pool must be one machine" in said


def test_serve_refuses_what_cannot_be(edge_moe, tmp_path, served):
    _, address = served
    host, port = address.split(":")
    for options, status, words in [
            (("--device", "gold"), 1, "no device 'gold'"), (("--device", "golden", "--port", 70000), 2, "port of 0 to"),
            (("--device", "golden", "--idle", 0), 2, "more than 0 seconds"),
            (("--device", "golden", "--host", host, "--port", port), 2, "Address already in use")]:
        found, _, said = edge_moe("serve", *options)
        assert found == status and words in said, said
