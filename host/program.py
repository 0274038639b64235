# SPDX-License-Identifier: Apache-2.0
"""From whatever the user has, a model file or a program image, to a program for one machine."""

from pathlib import Path

from golden.model.int_model import IntModel
from golden.spec.abi import Image
from golden.spec.machine import MACHINES, MachineConfig
from golden.spec.model import require
from host.compiler.emit import compile_model


def machine_named(name: str) -> MachineConfig:
    """The preset called ``name``. Raises ConfigError with the names there are."""
    require(name in MACHINES, f"There is no machine {name!r}; there are {', '.join(MACHINES)}.")
    return MACHINES[name]


def program_of(path: str | Path, machine: MachineConfig) -> Image:
    """The image in a ``.emoe`` file, or a quantized ``.safetensors`` compiled for ``machine``."""
    path = Path(path)
    if path.suffix == ".emoe":
        return Image.from_bytes(path.read_bytes())
    return compile_model(IntModel.load(path), machine)
