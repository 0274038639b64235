# SPDX-License-Identifier: Apache-2.0
"""Runs a compiled image on the simulator: places it in memory as a driver does, runs one job, reads the result."""

from collections.abc import Callable

from golden.iss.dram import Dram
from golden.iss.machine import Machine
from golden.iss.trace import Entry
from golden.spec.program.image import Image


def placed(image: Image, pixels: bytes, task: str | None = None, dram: Dram | None = None) -> tuple[Dram, dict, int]:
    """``(dram, registers, output size)`` with program, tables, planes and input in place and tight windows set.

    ``pixels`` is the input buffer (``host.driver.layout.prepare_input``). Buffers of one kind are contiguous;
    the output buffer is readable where the program reads it.
    """
    dram = Dram() if dram is None else dram
    if len(pixels) != image.input_bytes(task):
        raise ValueError(f"The input buffer must have {image.input_bytes(task)} bytes, not {len(pixels)}.")
    size = image.output_bytes(task)
    registers = {"PROGRAM_ADDR": dram.put(image.program(task)), "TABLE_ADDR": dram.put(image.tables),
                 "INPUT_ADDR": dram.put(pixels)}
    registers |= {"READ_LO": registers["PROGRAM_ADDR"], "READ_HI": registers["INPUT_ADDR"] + len(pixels)}
    output = dram.allocate(size)
    registers |= {"OUTPUT_ADDR": output, "WRITE_LO": output, "WRITE_HI": output + size}
    if image.reads_output(task):
        registers["READ_HI"] = output + size
    weights = [dram.put(plane) for plane in image.planes]
    registers |= {f"WEIGHT_ADDR{p}": address for p, address in enumerate(weights)}
    registers |= {"WEIGHT_LO": weights[0], "WEIGHT_HI": weights[-1] + len(image.planes[-1])}
    return dram, registers, size


def run_image(image: Image, pixels: bytes, task: str | None = None,
              trace: Callable[[Entry], None] | None = None) -> bytes:
    """The output buffer of one job on a fresh machine. Raises :class:`golden.iss.IssFault`."""
    dram, registers, size = placed(image, pixels, task)
    Machine(image.machine, dram).run(registers, trace)
    return dram.read(registers["OUTPUT_ADDR"], size)
