# SPDX-License-Identifier: Apache-2.0
"""The program image: instruction lists, weight planes, tables and metadata of one model for one machine.

``golden.spec.program.container`` is its file format. :meth:`Image.from_bytes` turns any bytes into an :class:`Image`
or raises a :class:`ProgramError`. Illegal instructions are refused by the machine; weights that it would silently
multiply wrongly are refused here (``golden.spec.program.weights``).
"""

import json
import os
from dataclasses import asdict, dataclass, fields
from typing import Any

from golden.spec.isa import FORMATS, INSTRUCTION_BYTES, Opcode, Region
from golden.spec.machine import LINE, MachineConfig
from golden.spec.model import ConfigError, ModelConfig
from golden.spec.program.container import MAX_BYTES, BadSection, Kind, ProgramError, pack, unpack, want
from golden.spec.program.file import read_file, write_file
from golden.spec.program.host_part import host_problem
from golden.spec.program.names import pictures_of, tasks_of
from golden.spec.program.outputs import Output, OutputBuffer, from_json, problem, to_json
from golden.spec.program.shown import ShownImage
from golden.spec.program.weights import find_forbidden, loaded
from golden.spec.quantized import Plan
from golden.spec.tiling import ceil_div

MAX_METADATA = 1 << 24


class BadMetadata(ProgramError):
    """The metadata are no JSON or lack what a driver needs."""


class WrongMachine(ProgramError):
    """The machine in the metadata is not the one whose fingerprint the header carries."""


class WrongModel(ProgramError):
    """The model in the metadata is not the one whose fingerprint the header carries."""


class BadWeight(ProgramError):
    """A program would multiply by a weight of -128, which no machine can."""


class NoSuchTask(ProgramError):
    """The image has no program for the requested task."""


@dataclass(frozen=True)
class Symbol:
    """Debug information of one instruction from the compiler: tensor name, opcode, MACs, estimated cycles, stream and
    DRAM bytes. Counts inside EXPERTS are totals over all passes of the body, for a balanced routing."""

    name: str
    kind: str
    macs: int = 0
    cycles: int = 0
    bytes: int = 0


_INPUT_KEYS = {"height", "width", "channels", "patch", "window", "row_bytes", "rows", "bytes"}


@dataclass(frozen=True, repr=False)
class Image(ShownImage):
    """One compiled model. ``programs`` maps a name (``golden.spec.program.names``) to instructions, ``planes`` holds
    the bytes of each weight port, ``tables`` what LOAD finds at the table base, ``host`` what the host computes with:
    the tensors of :func:`golden.spec.quantized.host_schema` one after the other, little-endian.

    ``input``: height, width, channels, patch, window (patches are in the order of windows of this side; 0: row by row
    over the picture), row_bytes (64), rows (of one patch), bytes (of one picture; those of
    several follow one another in the input buffer).
    ``outputs``: the output buffer of each program, with its named results. ``symbols``: a tuple per program, one
    :class:`Symbol` per instruction.
    """

    machine: MachineConfig
    model: ModelConfig
    plan: Plan
    programs: dict[str, bytes]
    planes: tuple[bytes, ...]
    tables: bytes
    symbols: dict[str, tuple[Symbol, ...]]
    input: dict
    outputs: dict[str, OutputBuffer]
    host: bytes = b""

    def __post_init__(self):
        _check(self)

    def program(self, task: str | None = None) -> bytes:
        """Instructions of ``task``, of the first one by default. Raises :class:`NoSuchTask`."""
        name = next(iter(self.programs)) if task is None else task
        want(name in self.programs, NoSuchTask,
             f"The image of {self.model.name!r} has programs for {list(self.programs)}, not for {name!r}.")
        return self.programs[name]

    def tasks(self, program: str | None = None) -> tuple[str, ...]:
        """Tasks that a program computes, in the order of their results (:mod:`golden.spec.program.names`)."""
        self.program(program)
        return tasks_of(next(iter(self.programs)) if program is None else program, self.model)

    def pictures(self, program: str | None = None) -> int:
        """How many pictures a program computes."""
        self.program(program)
        return pictures_of(next(iter(self.programs)) if program is None else program, self.model)

    def input_bytes(self, program: str | None = None) -> int:
        """Size of the input buffer of a program."""
        return self.pictures(program) * self.input["bytes"]

    def results(self, program: str | None = None) -> tuple[Output, ...]:
        """What a program leaves in the output buffer."""
        self.program(program)
        return self.outputs[next(iter(self.programs)) if program is None else program].outputs

    def output_bytes(self, program: str | None = None) -> int:
        """Size of the output buffer of a program."""
        self.program(program)
        return LINE * self.outputs[next(iter(self.programs)) if program is None else program].lines

    def reads_output(self, program: str | None = None) -> bool:
        """Whether a program loads from the output buffer, where it stores maps on their way."""
        region = FORMATS[Opcode.LOAD].offsets["region"]
        return any(word & 15 == Opcode.LOAD and word >> region & 3 == Region.OUTPUT for word in self.words(program))

    def words(self, task: str | None = None) -> list[int]:
        """The instructions of :meth:`program` as 256-bit numbers."""
        data = self.program(task)
        return [int.from_bytes(data[i:i + INSTRUCTION_BYTES], "little")
                for i in range(0, len(data), INSTRUCTION_BYTES)]

    @property
    def stream_lines(self) -> int:
        """64-byte lines of the weight stream."""
        return len(self.planes[0]) // self.machine.line_bytes_per_port

    def _metadata(self) -> dict:
        return {
            "machine": asdict(self.machine), "model": self.model.to_json(), "plan": self.plan.to_json(),
            "programs": [{"task": task, "symbols": [list(asdict(s).values()) for s in self.symbols[task]]}
                         for task in self.programs],
            "symbol_fields": list(Symbol.__dataclass_fields__), "input": self.input,
            "outputs": {task: to_json(buffer) for task, buffer in self.outputs.items()}}

    def to_bytes(self) -> bytes:
        """The container; the same image gives the same bytes."""
        text = json.dumps(self._metadata(), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
        return pack(self.machine.fingerprint, self.model.fingerprint, [
            (Kind.METADATA, text), *((Kind.PROGRAM, data) for data in self.programs.values()),
            (Kind.TABLES, self.tables), *((Kind.PLANE, data) for data in self.planes),
            *([(Kind.HOST, self.host)] if self.host else [])])

    @classmethod
    def from_bytes(cls, data: bytes) -> "Image":
        """Inverse of :meth:`to_bytes`. Other bytes raise a subclass of :class:`ProgramError`, never anything else."""
        machine_print, model_print, sections = unpack(data)
        meta = _read_json(sections[Kind.METADATA][0])
        machine, model, plan = _read_configs(meta)
        want(machine.fingerprint == machine_print, WrongMachine,
             f"The header names the machine 0x{machine_print:016x}; the metadata describe {machine.name!r}, "
             f"0x{machine.fingerprint:016x}.")
        want(model.fingerprint == model_print, WrongModel,
             f"The header names the model 0x{model_print:016x}; the metadata describe {model.name!r}, "
             f"0x{model.fingerprint:016x}.")
        want(meta["symbol_fields"] == list(Symbol.__dataclass_fields__), BadMetadata,
             f"A symbol has the fields {list(Symbol.__dataclass_fields__)}, not {str(meta['symbol_fields'])[:120]}.")
        listed = _read_symbols(meta["programs"])
        bodies = sections.get(Kind.PROGRAM, [])
        want(len(listed) == len(bodies), BadSection,
             f"The metadata name {len(listed)} programs; the image holds {len(bodies)}.")
        return cls(machine, model, plan, dict(zip(listed, bodies, strict=True)), tuple(sections.get(Kind.PLANE, [])),
                   sections[Kind.TABLES][0], listed, meta["input"], _read_outputs(meta["outputs"]),
                   *sections.get(Kind.HOST, []))

    def save(self, path: str | os.PathLike) -> None:
        """Write the container, whole or not at all. Raises :class:`NoFile`."""
        write_file(path, self.to_bytes())

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Image":
        """Read a container, of bounded size. Raises a :class:`ProgramError`."""
        return cls.from_bytes(read_file(path))


def _no_constant(name: str):
    raise BadMetadata(f"The metadata hold the number {name}; only finite numbers are meant.")


def _read_json(text: bytes) -> dict:
    want(len(text) <= MAX_METADATA, BadSection, f"Metadata have at most {MAX_METADATA} bytes, not {len(text)}.")
    try:
        meta = json.loads(text.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        if isinstance(error, ProgramError):
            raise
        raise BadMetadata(f"The metadata are not JSON: {str(error)[:120]}.") from None
    keys = {"machine", "model", "plan", "programs", "symbol_fields", "input", "outputs"}
    want(isinstance(meta, dict) and set(meta) == keys, BadMetadata,
         f"The metadata must be an object with the keys {sorted(keys)}, not {str(meta)[:120]}.")
    return meta


def _read_configs(meta: dict) -> tuple[MachineConfig, ModelConfig, Plan]:
    machine = meta["machine"]
    kinds = {field.name: field.type for field in fields(MachineConfig)}
    want(isinstance(machine, dict) and {key: type(value) for key, value in machine.items()} == kinds, BadMetadata,
         f"The machine must be a name and numbers called {sorted(kinds)}, not {str(machine)[:200]}.")
    try:
        return MachineConfig(**machine), ModelConfig.from_json(meta["model"]), Plan.from_json(meta["plan"])
    except ConfigError as error:
        raise BadMetadata(f"The metadata describe nothing that can exist: {error}") from None
    except (TypeError, ValueError, OverflowError, ZeroDivisionError, AttributeError) as error:
        raise BadMetadata(f"The metadata hold a value of the wrong type: {error}.") from None


def _read_symbols(programs: Any) -> dict[str, tuple[Symbol, ...]]:
    want(isinstance(programs, list), BadMetadata, f"programs must be a list, not {type(programs).__name__}.")
    result = {}
    for program in programs:
        want(isinstance(program, dict) and set(program) == {"task", "symbols"} and isinstance(program["task"], str)
             and isinstance(program["symbols"], list), BadMetadata,
             f"A program's entry must hold a task and its symbols, not {str(program)[:120]}.")
        want(program["task"] not in result, BadMetadata, f"The metadata name the task {program['task']!r} twice.")
        for symbol in program["symbols"]:
            want(isinstance(symbol, list) and [type(v) for v in symbol] == [str, str, int, int, int], BadMetadata,
                 f"A symbol must be two texts and three integers, not {str(symbol)[:120]}.")
        result[program["task"]] = tuple(Symbol(*symbol) for symbol in program["symbols"])
    return result


def _read_outputs(data: Any) -> dict[str, OutputBuffer]:
    want(isinstance(data, dict), BadMetadata, f"outputs must be an object, not {type(data).__name__}.")
    try:
        return {task: from_json(buffer) for task, buffer in data.items()}
    except ValueError as error:
        raise BadMetadata(str(error)) from None


def _check_layouts(image: Image) -> None:
    model, layout = image.model, image.input
    want(isinstance(layout, dict) and set(layout) == _INPUT_KEYS
         and all(type(v) is int and v >= 0 for v in layout.values()), BadMetadata,
         f"input must give a count to each of {sorted(_INPUT_KEYS)}, not {str(layout)[:200]}.")
    shape = {"height": model.image_height, "width": model.image_width, "channels": model.channels, "patch": model.patch,
             "window": model.window, "row_bytes": LINE, "rows": ceil_div(model.patch_dim, LINE)}
    want(layout == shape | {"bytes": model.patches * shape["rows"] * LINE}, BadMetadata,
         f"The input must be laid out as {shape}; the metadata say {layout}.")
    want(set(image.symbols) == set(image.programs) == set(image.outputs) and len(image.programs) > 0, BadMetadata,
         f"Programs {list(image.programs)}, symbols {list(image.symbols)} and outputs {list(image.outputs)} must name "
         f"the same tasks, at least one.")
    for task, buffer in image.outputs.items():
        tasks = image.tasks(task)
        want(set(tasks) <= set(model.tasks), BadMetadata,
             f"The model {model.name!r} has the tasks {list(model.tasks)}; a program is called {task!r}.")
        try:
            wrong = problem(buffer, model, image.plan, tasks, image.pictures(task))
        except ConfigError as error:
            raise BadMetadata(f"A program is called {task!r}. {error}") from None
        want(wrong is None, BadMetadata, f"{wrong}")
        want(buffer.lines * LINE <= MAX_BYTES, BadMetadata, f"An output buffer of {buffer.lines} lines is absurd.")


def _check(image: Image) -> None:
    """Consistency of an image, for new images and for those read from a file."""
    machine = image.machine
    _check_layouts(image)
    want(len(image.planes) == machine.ports, BadSection,
         f"The machine {machine.name!r} has {machine.ports} weight ports; the image holds {len(image.planes)} planes.")
    sizes = {len(plane) for plane in image.planes}
    want(len(sizes) == 1 and sizes.pop() % machine.share_bytes == 0, BadSection,
         f"Weight planes must have one size, a multiple of {machine.share_bytes} bytes, not "
         f"{[len(plane) for plane in image.planes]}.")
    want(len(image.tables) % LINE == 0, BadSection,
         f"Tables come in lines of {LINE} bytes, not {len(image.tables)} bytes.")
    wrong = host_problem(image.host, image.model)
    want(wrong is None, BadSection, f"{wrong}")
    for task, data in image.programs.items():
        count = len(data) // INSTRUCTION_BYTES
        want(len(data) % INSTRUCTION_BYTES == 0 and 2 <= count <= machine.program_depth, BadSection,
             f"The program of {task!r} must be 2 to {machine.program_depth} instructions of {INSTRUCTION_BYTES} "
             f"bytes, not {len(data)} bytes.")
        kinds = [data[i * INSTRUCTION_BYTES] & 15 for i in range(count)]
        names = [Opcode(kind).name if kind in set(Opcode) else "?" for kind in kinds]
        want([symbol.kind for symbol in image.symbols[task]] == names, BadMetadata,
             f"The symbols of {task!r} do not name its instructions one by one.")
    _check_weights(image)


def _check_weights(image: Image) -> None:
    """Every weight that a program loads from the planes is one that machines can multiply by."""
    for task, data in image.programs.items():
        found = find_forbidden(loaded(data), image.planes, image.machine)
        if found is not None:
            index, expert = found.weights.index, found.weights.expert
            raise BadWeight(
                f"In the program {task!r} instruction {index} ({image.symbols[task][index].name}"
                f"{f', expert {expert}' if expert >= 0 else ''}) takes the weight -128 from byte {found.byte} of the "
                f"plane of weight port {found.port}; weights lie in -127..127. Quantize and compile the model again.")
