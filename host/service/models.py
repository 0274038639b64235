# SPDX-License-Identifier: Apache-2.0
"""Models that the service offers: program images and quantized models, by name, with their tasks and tensors."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from golden.model.int_model import IntModel
from golden.spec.machine import MachineConfig
from golden.spec.program.image import Image
from golden.spec.program.outputs import FEATURES, KEPT, LOGITS
from host.driver.errors import VersionMismatch
from host.driver.result import NORMED, Result
from host.program import is_program, program_of, usual_program
from host.service.errors import Refused

PICTURE = "picture"
VERSION = "1"
"""The only version of every model."""
DTYPES = {"UINT8": np.uint8, "UINT16": np.uint16, "INT64": np.int64, "FP32": np.float32}
"""Datatypes of the protocol that the tensors have."""


class ModelNameError(ValueError):
    """Models that could not be told apart by the names of their files."""


@dataclass(frozen=True)
class Tensor:
    """Name, datatype and shape of an input or output, as the protocol describes them."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def to_json(self) -> dict:
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True, eq=False)
class Model:
    """A program image called ``name``; ``path`` is its file, or that of the quantized model it was compiled from."""

    name: str
    path: Path
    image: Image

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Programs that compute one picture, the usual one first."""
        usual = usual_program(self.image)
        alone = [name for name in self.image.programs if self.image.pictures(name) == 1]
        return (usual, *(name for name in alone if name != usual))

    @cached_property
    def network(self) -> IntModel | None:
        """The integer model, where the file is one."""
        return None if is_program(self.path) else IntModel.load(self.path)

    @property
    def input(self) -> Tensor:
        config = self.image.model
        return Tensor(PICTURE, "UINT8", (config.image_height, config.image_width, config.channels))

    def task(self, name: object) -> str:
        """The task itself, the usual one for None. Raises Refused."""
        if name is None:
            return self.tasks[0]
        if name not in self.tasks:
            raise Refused(400, "NoSuchTask", f"The model {self.name!r} has the tasks {', '.join(self.tasks)}, not "
                                             f"{str(name)[:80]!r}.")
        return str(name)

    def outputs(self, task: str) -> dict[str, Tensor]:
        """Outputs of a task by name, with what :func:`output_of` gives."""
        config, found = self.image.model, {}
        tasks = self.image.tasks(task)

        def add(name: str, datatype: str, *shape: int) -> None:
            found.setdefault(name, Tensor(name, datatype, shape))
        for output in self.image.results(task):
            if output.kind == FEATURES:
                for name in (FEATURES, *([NORMED] if config.final_norm else [])):
                    add(name, "FP32", *output.shape)
                    if len(tasks) > 1:
                        add(f"{name}.{output.task}", "FP32", *output.shape)
            elif output.kind == KEPT:
                add(KEPT, "INT64", config.last_tokens - config.extra_tokens)
            elif output.kind != LOGITS:
                height, width, classes = 2 * output.shape[0], 2 * output.shape[1], output.shape[2]
                datatype = ("UINT8" if classes <= 256 else "UINT16") if output.kind == "semseg" else "FP32"
                add(output.name, datatype, height, width, *([3] if output.kind == "normals" else []))
        if config.classes:
            add(LOGITS, "FP32", config.classes)
        return found

    @cached_property
    def all_outputs(self) -> dict[str, Tensor]:
        """Outputs of every task."""
        return {name: tensor for task in self.tasks for name, tensor in self.outputs(task).items()}


def output_of(result: Result, name: str) -> np.ndarray:
    """An output by its name: one of the result's own, or ``features.TASK`` and ``normed_features.TASK``."""
    if name in result:
        return result[name]
    kind, _, task = name.partition(".")
    return (result.by_task if kind == FEATURES else result.normed_by_task)[task]


class Models(dict[str, Model]):
    """Models by name, all for one ``machine``."""

    machine: MachineConfig

    def named(self, name: str, version: str | None = None) -> Model:
        """Raises Refused."""
        if name not in self:
            raise Refused(404, "NoSuchModel", f"There are the models {', '.join(self)}, not {name[:80]!r}.")
        if version not in (None, VERSION):
            raise Refused(404, "NoSuchVersion", f"The model {name!r} has the version {VERSION}, not {version[:80]!r}.")
        return self[name]


def name_of(path: Path) -> str:
    """Name of the model in a file: the file's, without endings.

    >>> name_of(Path("models/street.q.safetensors")), name_of(Path("my net.v2.emoe"))
    ('street', 'my-net.v2')
    """
    name = path.name
    for ending in (".safetensors", ".emoe", ".q"):
        name = name.removesuffix(ending)
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "model"


def load_models(paths: Sequence[Path], machine: MachineConfig | None = None) -> Models:
    """Models of files; quantized ones are compiled for ``machine`` (None: that of the first program image, else
    zcu102). Raises ModelNameError for two of one name, VersionMismatch for programs of several machines, and as
    :func:`host.program.program_of` does.
    """
    found = Models()
    images = {path: program_of(path, machine) for path in paths if is_program(path)}
    machine = machine or next((image.machine for image in images.values()), None)
    for path in paths:
        name, image = name_of(path), images.get(path) or program_of(path, machine)
        if name in found:
            raise ModelNameError(f"{found[name].path} and {path} would both be the model {name!r}: rename one.")
        found[name] = Model(name, path, image)
    found.machine = next(iter(found.values())).image.machine
    for model in found.values():
        if model.image.machine.fingerprint != found.machine.fingerprint:
            raise VersionMismatch(f"One device serves all models: {model.path} was compiled for "
                                  f"{model.image.machine.name!r}, another one for {found.machine.name!r}.")
    return found
