# SPDX-License-Identifier: Apache-2.0
"""The wheel of the driver alone, in a new environment of the oldest Python and numpy 1.26: it imports, runs, serves."""

import os
import re
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from golden.model.random_int_model import random_int_model
from golden.spec.machine import ZCU102
from golden.spec.model import M3VIT_TINY
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from host.driver import Session, open_device
from host.driver.doctor import OLDEST_NUMPY, OLDEST_PYTHON
from host.driver.errors import DeviceNotFound
from host.driver.remote.token import VALUE
from host.driver_wheel import build
from tests.host.support import interpreters
from tests.host.support.devices import compiled, picture
from tests.host.support.served import TOKEN, address_of, process

pytestmark = pytest.mark.slow
NUMPY = "1.26.4"
IMPORTS = """
import importlib, pkgutil, sys
import golden, host
names = [module.name for package in (golden, host)
         for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
known = set(sys.stdlib_module_names) | {"golden", "host", "numpy", "cython_runtime"}
print(len(names), *sorted({name.split(".")[0] for name in sys.modules if not name.startswith("_")} - known))
"""


@dataclass
class Environment:
    """A virtual environment with numpy and the wheel; ``folder``: where its commands run, far from this checkout."""

    folder: Path
    version: tuple

    def start(self, *words, **options):
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {VALUE: TOKEN}
        return subprocess.Popen([str(self.folder / "env/bin" / words[0]), *map(str, words[1:])], cwd=self.folder,
                                env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)

    def run(self, *words):
        with self.start(*words) as command:
            out, said = command.communicate(timeout=120)
        assert command.returncode == 0, said
        return out


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def board(wheel, tmp_path_factory):
    """The environment of a board, with a program and a picture in its folder."""
    if (found := interpreters.oldest()) is None:
        pytest.skip("no Python of 3.10 to 3.12 is here")
    python, version = found
    folder = tmp_path_factory.mktemp("board")
    subprocess.run([python, "-m", "venv", folder / "env"], check=True, timeout=300)
    pip = [folder / "env/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    got = subprocess.run([*pip, f"numpy=={NUMPY}"], capture_output=True, text=True, timeout=300)
    if got.returncode:
        pytest.skip(f"pip cannot install numpy {NUMPY} here: {got.stderr.strip().splitlines()[-1]}")
    subprocess.run([*pip, "--no-index", wheel], check=True, timeout=300)
    compiled()[1].save(folder / "nano.emoe")
    np.save(folder / "picture.npy", picture(seed=5))
    return Environment(folder, version)


def wanted(task):
    result = Session(compiled()[1], open_device("golden:nano")).frame(picture(seed=5), task)
    return {name: result[name].tobytes() for name in result}


def results(board):
    with np.load(board.folder / "out.npz", allow_pickle=False) as found:
        return {name: found[name].tobytes() for name in found}


def test_it_holds_the_driver_and_the_specification_and_nothing_else(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        about = opened.read(next(name for name in names if name.endswith("METADATA"))).decode()
    held = {re.sub(r"/[^/]*$", "", name) for name in names if name.endswith(".py")}
    assert held == {"golden", "golden/spec", "golden/spec/instructions", "golden/spec/program", "host", "host/driver",
                    "host/driver/notebook", "host/driver/pool", "host/driver/remote", "host/driver/roads"}
    assert "Requires-Dist: numpy>=1.26" in about and about.count("Requires-Dist") == 1
    assert "Requires-Python: >=3.10" in about and any(name.endswith("LICENSE") for name in names)
    assert build(tmp_path).read_bytes() == wheel.read_bytes(), "the same sources give another wheel"


def test_every_module_imports_with_numpy_alone(board):
    assert interpreters.OLDEST == OLDEST_PYTHON and tuple(map(int, NUMPY.split(".")[:2])) == OLDEST_NUMPY
    count, *others = board.run("python", "-W", "error", "-c", IMPORTS).split()
    assert int(count) > 50 and not others
    assert board.run("python", "-c", "import sys, numpy; print(sys.version_info[:2], numpy.__version__)") == \
        f"{board.version} {NUMPY}\n"


def test_a_model_runs_on_a_served_device_with_the_same_bytes_as_here(board):
    with process("golden:nano") as (_, address):
        for task in compiled()[1].programs:
            said = board.run("edge-moe-driver", "run", "nano.emoe", "picture.npy", "-o", "out.npz", "--task", task,
                             "--device", f"remote:{address}")
            assert f"golden:nano at {address}" in said
            assert results(board) == wanted(task)


@pytest.mark.parametrize("device", ["golden:zcu102", pytest.param("sim:zcu102", marks=[pytest.mark.rtl,
                                                                                        pytest.mark.nightly])])
def test_m3vit_tiny_runs_on_a_served_device_with_the_same_bytes_as_here(board, device):
    image = compile_model(random_int_model(M3VIT_TINY, Plan.fast(M3VIT_TINY.depth), 1), ZCU102)
    image.save(board.folder / "m3vit.emoe")
    pixels = picture(M3VIT_TINY)
    np.save(board.folder / "street.npy", pixels)
    here = Session(image, open_device("golden:zcu102")).frame(pixels)
    with process(device, patience=3600) as (_, address):
        board.run("edge-moe-driver", "run", "m3vit.emoe", "street.npy", "-o", "out.npz", "--device",
                  f"remote:{address}")
    assert results(board) == {name: here[name].tobytes() for name in here}


def test_it_serves_as_well(board):
    """This environment's server lends the device that it has from another server to this environment's client."""
    with process("golden:nano") as (_, first), board.start(
            "edge-moe-driver", "serve", "--device", f"remote:{first}", "--port", "0") as server:
        try:
            second = address_of(server)
            board.run("edge-moe-driver", "run", "nano.emoe", "picture.npy", "-o", "out.npz", "--device",
                      f"remote:{second}")
            assert results(board) == wanted("task0")
        finally:
            server.terminate()
        assert server.wait(30) == 0


def test_what_is_not_in_it_is_refused_by_name(board):
    words = ("edge-moe-driver", "run", "nano.emoe", "picture.npy", "-o", "out.npz", "--device", "golden")
    with board.start(*words) as run:
        assert run.wait(60) == 1
        assert run.stderr.read() == ("edge-moe-driver: DeviceNotFound: There is no device 'golden'; installed are "
                                     "pynq, remote, uio, xrt. Run `make setup` if the project was not installed.\n")
    with pytest.raises(DeviceNotFound):
        open_device("gold")


def test_its_doctor_knows_what_this_computer_lacks(board):
    with board.start("edge-moe-driver", "doctor", "nano.emoe") as doctor:
        out, _ = doctor.communicate(timeout=60)
    assert doctor.returncode == 1
    assert re.search(r"^ok +Python: 3\.1", out, re.MULTILINE) and re.search(rf"^ok +numpy: {NUMPY}", out, re.MULTILINE)
    assert re.search(r"^TO DO +UIO node: No UIO node is called edge-moe", out, re.MULTILINE)


@pytest.mark.rtl
def test_a_model_runs_on_a_served_simulated_board_with_the_same_bytes_as_here(board):
    with process("sim:nano", patience=1200) as (_, address):
        board.run("edge-moe-driver", "run", "nano.emoe", "picture.npy", "-o", "out.npz", "--device",
                  f"remote:{address}")
        assert results(board) == wanted("task0")
