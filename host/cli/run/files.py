# SPDX-License-Identifier: Apache-2.0
"""Files that the verb ``run`` writes: arrays, sheets, animations, dumps; checked before the work, whole or not."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from golden.files.array_file import write_npy, write_npz
from golden.spec.program.image import Image
from golden.spec.program.names import width_of
from golden.spec.program.outputs import FEATURES
from host.cli.output import DRAWINGS, UsageError, check_output
from host.cli.run.frame import Frame, features
from host.driver.device import Device
from host.driver.result import NORMED
from host.sources import Source

ARRAYS = (".npy", ".npz")
ANIMATIONS = (".gif", ".mp4", ".webm", ".mkv")
RATE = 10.0
"""Pictures a second of an animation of pictures that have no rate."""


@dataclass
class Files:
    """What is asked for: ``output`` (arrays or an animation), a sheet, a folder of a dump; ``normed``: a .npy has
    features after the final norm. Of the pictures it keeps what these files need: of an animation on the disk.
    """

    output: Path | None = None
    sheet: Path | None = None
    dump: Path | None = None
    normed: bool = False
    _kept: list[Frame] = field(default_factory=list)

    def check(self, source: Source, places: list[Path], model: Path) -> None:
        """Refuse files that could not be written, before any work. Raises UsageError, AnimationError."""
        sources = (*places, *source.files, model)
        if self.sheet is not None and not source.single:
            raise UsageError("--save-picture draws one picture; of several -o NAME.gif makes an animation.")
        check_output(self.sheet, *sources, suffixes=DRAWINGS)
        if self.sheet is not None:
            import host.pictures.sheet  # noqa: F401  # before the work, if it cannot be drawn here
        if self.output is not None and source.single and self.output.suffix in (*ANIMATIONS, *DRAWINGS):
            raise UsageError(f"-o {self.output.name}: of one picture -o writes {' or '.join(ARRAYS)}; --save-picture "
                             f"draws it, and an animation needs several pictures.")
        check_output(self.output, *sources, suffixes=(*ARRAYS, *(() if source.single else ANIMATIONS)))
        if self.output is not None and self.output == self.sheet:
            raise UsageError(f"-o and --save-picture both name {self.output}; name two files.")
        if self.output is not None and self._is_animation:
            from host.pictures.animation import check_film

            check_film(self.output)
        if self.dump is not None and self.dump.exists() and not self.dump.is_dir():
            raise UsageError(f"--dump wants a folder; {self.dump} is a file.")
        if self.dump is not None and not self.dump.parent.is_dir():
            raise UsageError(f"There is no folder {self.dump.parent} for {self.dump.name}.")

    def check_normed(self, image: Image) -> None:
        """Refuse --normed where it would change nothing. Raises UsageError."""
        if self.normed and not image.model.final_norm:
            raise UsageError(f"The model {image.model.name!r} has no final norm: leave --normed out.")
        if self.normed and (self.output is None or self.output.suffix != ".npy"):
            raise UsageError("--normed chooses the features of a file .npy, named with -o; a .npz has both.")

    def begin(self, image: Image, model: Path, program: str, rate: float | None) -> None:
        """Before the first picture: what runs, and the rate of an animation."""
        self._image, self._model, self._program, self._rate = image, model, program, rate or RATE
        if self._is_animation:
            from host.pictures.reel import Reel

            self._reel = Reel()

    def add(self, frame: Frame) -> None:
        """Take what the files need of a picture."""
        if self.dump is not None or self.output is not None and not self._is_animation:
            self._kept.append(frame)
        elif self.sheet is not None:
            self._kept = [frame]
        if self._is_animation:
            from host.pictures.outputs import outputs_of

            self._reel.add(frame.pixels, outputs_of(frame.result, self._image.model))

    def write(self, board: Device) -> dict:
        """Write all files, each whole or not at all; what to tell of them."""
        told = {}
        if self.output is not None:
            if self._is_animation:
                self._reel.save(self.output, self._rate)
            else:
                _save_arrays(self._kept, self.output, self.normed)
            told["written"] = str(self.output)
        if self.sheet is not None:
            _save_sheet(self._kept[0], self._image, self._model, self._program, self.sheet)
            told["picture"] = str(self.sheet)
        if self.dump is not None:
            _write_dump(self._kept, self._image, board, self._program, self.dump)
            told["dump"] = str(self.dump)
        return told

    @property
    def _is_animation(self) -> bool:
        return self.output is not None and self.output.suffix in ANIMATIONS


def save_arrays(arrays: dict[str, np.ndarray], path: Path, one: str = FEATURES) -> None:
    """Write all arrays into a .npz, or the ``one`` into a .npy."""
    if path.suffix == ".npz":
        write_npz(path, arrays)
    else:
        write_npy(path, arrays[one])


def _save_arrays(frames: list[Frame], path: Path, normed: bool) -> None:
    results = [frame.result for frame in frames]

    def stacked(arrays: list[np.ndarray]) -> np.ndarray:
        return np.stack(arrays) if len(arrays) > 1 else arrays[0]

    names = results[0] if path.suffix == ".npz" else (NORMED if normed else FEATURES,)
    arrays = {name: stacked([result[name] for result in results]) for name in names}
    for name in arrays.keys() & {FEATURES, NORMED}:
        arrays[name] = stacked([features(result, name == NORMED) for result in results])
    save_arrays(arrays, path, NORMED if normed else FEATURES)


def _save_sheet(frame: Frame, image: Image, model: Path, program: str, path: Path) -> None:
    from golden.model.int_model import IntModel
    from golden.model.nested import narrow
    from host.expert_choices import choices_of_network, load_of
    from host.pictures.outputs import outputs_of
    from host.pictures.sheet import save_sheet
    from host.program import is_program, is_quantized

    load = {}
    if not is_program(model) and is_quantized(model):
        network = narrow(IntModel.load(model), width_of(program, image.model))
        load = load_of(choices_of_network(network, image.tasks(program), frame.pixels), image.model.experts)
    title = f"{image.model.name}, {program}"
    title += f", {frame.result.cycles:,} cycles" if frame.result.cycles else ""
    save_sheet(frame.pixels, outputs_of(frame.result, image.model), path, load, title)


def _write_dump(frames: list[Frame], image: Image, board: Device, program: str, folder: Path) -> None:
    """Write all tensors of the frames as a dump."""
    from host.diagnosis import dump
    from host.diagnosis.difference import tensors_of

    about = dump.About(board.name, image.machine.name, image.model.name, program, tuple(each.name for each in frames),
                       tuple(each.result.cycles for each in frames))
    dump.write_dump(folder, about, [tensors_of(each.pixels, each.result) for each in frames])
