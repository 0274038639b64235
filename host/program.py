# SPDX-License-Identifier: Apache-2.0
"""Loading a program for one machine from a model file or a program image."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from golden.files import safetensors_file
from golden.files.bounds import refuse_pipe
from golden.files.errors import UnknownLayout
from golden.model.int_model import IntModel
from golden.spec.machine import ZCU102, MachineConfig
from golden.spec.model import ModelConfig
from golden.spec.program.container import MAGIC
from golden.spec.program.image import Image
from golden.spec.program.names import pictures_of, width_of
from golden.spec.quantized import FORMAT
from host.compiler.compile import compile_model
from host.compiler.presets import suggestion
from host.compiler.pruning import pruned
from host.driver.errors import VersionMismatch
from host.importers import import_checkpoint
from host.ir.nodes import NotFitting

SUFFIX = ".emoe"


def is_program(path: str | Path) -> bool:
    """Whether a file is, or by its name should be, a program image. Raises OSError where it cannot be read,
    MissingFile for a pipe.
    """
    path = Path(path)
    refuse_pipe(path)
    if path.is_dir():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC or path.suffix == SUFFIX


def is_quantized(path: str | Path) -> bool:
    """Whether a file says that it is a quantized model. Raises ModelFileError for a damaged ``.safetensors``."""
    path = Path(path)
    return path.suffix == ".safetensors" and safetensors_file.inspect(path)[1].get("format") == FORMAT


def program_of(path: str | Path, machine: MachineConfig | None = None, widths: Iterable[float] = (1.0,),
               pictures: int = 1, keep: str = "") -> Image:
    """The image in a file, or a quantized model compiled for ``machine`` (None: what the image says, or zcu102) with
    programs of the FFN ``widths``, on one picture and on ``pictures`` at a time, whose blocks keep tokens as ``keep``
    says (:func:`host.compiler.pruning.pruned`).

    Raises VersionMismatch for an image made for another machine, ProgramError, ModelFileError or NotFitting for a file
    that cannot be used, OSError for one that cannot be read.
    """
    path = Path(path)
    if not is_program(path):
        if not is_quantized(path):
            raise UnknownLayout(f"{path} is neither a program image nor a quantized model (.safetensors). If it is a "
                                f"checkpoint, quantize it first: edge-moe quantize {path} -o MODEL.safetensors.")
        model = IntModel.load(path)
        model = replace(model, config=pruned(model.config, keep)) if keep else model
        return _compiled(model, machine or ZCU102, widths, pictures)
    image = Image.load(path)
    if machine is not None and machine.fingerprint != image.machine.fingerprint:
        raise VersionMismatch(f"{path} was compiled for the machine {image.machine.name!r} "
                              f"(0x{image.machine.fingerprint:016x}), not for {machine.name!r} "
                              f"(0x{machine.fingerprint:016x}). Compile the model for that one.")
    return image


def usual_program(image: Image) -> str:
    """All tasks together where there are task heads and such a program, else the first."""
    together = "+".join(image.model.tasks)
    return together if image.model.task_heads and together in image.programs else next(iter(image.programs))


def widths_and_pictures(path: str | Path, task: str | None) -> tuple[tuple[float, ...], int]:
    """FFN widths, and pictures at a time, of the programs to make of the quantized model at ``path`` so that ``task``
    can run."""
    if task is None or not set("@#") & set(task) or is_program(path) or not is_quantized(path):
        return (1.0,), 1
    config = config_of(path)
    return (width_of(task, config),), pictures_of(task, config)


def config_of(path: str | Path, note: Callable[[str], None] = lambda line: None) -> ModelConfig:
    """Configuration of the model in a program image, a quantized model or any checkpoint, of which ``note`` hears what
    was guessed. Raises as they do.
    """
    if is_program(path):
        return Image.load(path).model
    return IntModel.load(path).config if is_quantized(path) else import_checkpoint(path, note=note).config


def _compiled(model: IntModel, machine: MachineConfig, widths: Iterable[float], pictures: int) -> Image:
    try:
        return compile_model(model, machine, widths=widths, pictures=pictures)
    except NotFitting as refusal:
        raise NotFitting(f"{refusal} {suggestion(model.config, model.plan)}") from None
