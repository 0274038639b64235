# SPDX-License-Identifier: Apache-2.0
"""Builds the simulated board of one machine configuration as a shared library, once per content."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from golden.spec.machine import MachineConfig
from sim.export import sim_verilog
from sim.lock import exclusive
from sim.runner import BUILD, COLD, COLD_CODE, TOP, UNINITIALISED, WHOLE, toolchain

SOURCE = Path(__file__).with_name("board.cpp")
HEADER = Path(__file__).with_name("slaves.h")
READ = ("araddr", "arlen", "arvalid", "arready", "rvalid", "rready", "rlast", "rresp", "rdata")
WRITE = ("awaddr", "awlen", "awvalid", "awready", "wvalid", "wready", "wlast", "bvalid", "bready", "bresp", "wstrb",
         "wdata")
SIGN_OF_LIFE = 15
"""Seconds between two progress messages of a build."""
BUILD_LIMIT = 3600
UNITS = ("operand", "residual", *(f"{memory}.bank{n}" for memory in ("key", "value") for n in range(4)), "epilogue",
         "norm", "gate", "gate.loader", "gate.queues", "load_store")
"""Submodules of the machine that traces observe, those that it has: their memories, and their PROBES."""
PROBES = {"retire", "retired", "written", "loaded"}
"""Signals that traces observe where a unit has them: an instruction is over; a token's logits are written, and how many
tokens' were before."""


class BuildError(RuntimeError):
    """The simulator could not be built; the message names the log."""


def _pins(config: MachineConfig) -> str:
    def pins(prefix, names):
        return "{" + ", ".join(f"top->{prefix}_{name}.data()" if name.endswith("data") else f"&top->{prefix}_{name}"
                               for name in names) + "}"

    ports = [pins(f"m_axi_weights{p}", READ) for p in range(config.ports)]
    cases = "".join(f"        case {p + 1}: return {text};\n" for p, text in enumerate(ports))
    return (f"constexpr int PORTS = {config.ports}, PORT_BEAT = {config.port_bytes};\n"
            f"constexpr uint32_t MAX_BURST = {config.max_burst};\n"
            f"static ReadPins read_pins(Vdut* top, int port) {{\n    switch (port) {{\n{cases}"
            f"        default: return {pins('m_axi_main', READ)};\n    }}\n}}\n"
            f"static WritePins write_pins(Vdut* top) {{ return {pins('m_axi_main', WRITE)}; }}\n")


def units(text: str) -> dict[str, tuple[str, str]]:
    """Unit -> (module, instance path) in the Verilog ``text``.

    Each part of both is called as the unit is, with a number appended where a wire of its parent has that name already.
    """
    found = re.findall(rf"^  \\?({TOP}\.\S+)\s+\\?(\S+)\s*\(", text, re.MULTILINE)
    named = {re.sub(r"\$\d+", "", module).removeprefix(f"{TOP}."): (module, module) for module, _ in found}
    return {unit: named[unit] for unit in UNITS if unit in named}


def _control(text: str) -> str:
    """Makes each unit's probes and memories public; nothing else, since public signals cost speed."""
    lines = ["`verilator_config"]
    for module, _ in units(text).values():
        body = re.search(rf"^module \\?{re.escape(module)}[ (].*?^endmodule", text, re.MULTILINE | re.DOTALL)[0]
        names = re.findall(r"^  reg \[\d+:0\] \\?(\w+) +\[\d+:0\];", body, re.MULTILINE)
        names += sorted(probe for probe in PROBES if re.search(rf"^  (?:reg|wire|output) (?:\[\d+:0\] )?{probe}\b",
                                                               body, re.MULTILINE))
        lines += [f'public_flat_rd -module "{module}" -var "{name}"' for name in names]
    return "\n".join(lines) + "\n"


def sources() -> str:
    """Content of everything the simulator is made from: gateware, spec, exporter, this package's C++ and flags."""
    root = SOURCE.parents[2]
    kits = root / "hw" / "platform"  # writes files for vendors' tools and makes no gateware
    files = [*(path for path in (root / "hw").rglob("*.py") if kits not in path.parents),
             *(root / "golden" / "spec").rglob("*.py"), root / "sim" / "export.py",
             root / "sim" / "runner.py", SOURCE, HEADER, Path(__file__)]
    return "\0".join(f"{path.relative_to(root)}\0{path.read_text()}" for path in sorted(files))


def build_board(config: MachineConfig, progress: Callable[[str], None] = lambda text: None) -> Path:
    """Path of the shared library for ``config``; ``progress`` is called at each step. Raises :class:`BuildError`."""
    library = _library(config)
    directory = library.parent
    if library.exists():
        return library
    with exclusive(directory):
        if not library.exists():
            _build(config, directory, progress)
    return library


def _library(config: MachineConfig) -> Path:
    content = f"{sources()}\0{config}\0{os.uname().machine}"
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return BUILD / f"board-{config.name}-{digest}" / "board.so"


def _build(config: MachineConfig, directory: Path, progress: Callable[[str], None]) -> None:
    from hw.top import Accelerator  # late: a cached simulator needs no gateware

    toolchain(fast=True)
    progress(f"elaborating {config.name}")
    text = sim_verilog(Accelerator(config), TOP)
    (directory / "dut.v").write_text(text)
    (directory / "dut.vlt").write_text(_control(text))
    (directory / "pins.inc").write_text(_pins(config))
    (directory / "units.json").write_text(json.dumps({unit: path for unit, (_, path) in units(text).items()}))
    log = directory / "build.log"
    objects = directory / "obj"
    objects.mkdir(exist_ok=True)
    (objects / "cold.h").write_text(COLD)
    commands = [
        ["verilator", "--cc", "--build", "-j", "2", "--vpi", "--top-module", TOP, "--prefix", "Vdut",
         "--Mdir", str(objects), *_split(config), "-Wno-fatal", "-Wno-WIDTH",
         *UNINITIALISED, "-O3", "-CFLAGS", "-fPIC -std=c++17", "dut.vlt", "dut.v"],
        ["g++", "-std=c++17", "-O2", "-march=native", "-fPIC", "-shared", "-I.", "-Iobj", f"-I{_include()}",
         f"-I{_include()}/vltstd", f"-I{HEADER.parent}", str(SOURCE), "-Wl,--whole-archive", "obj/libVdut.a",
         "-Wl,--no-whole-archive", "obj/libverilated.a", "-lpthread", "-o", "board.so.tmp"],
    ]
    with log.open("w") as stream:
        for command in commands:
            what = f"linking {config.name}" if command[0] == "g++" else f"compiling {config.name}, once; takes minutes"
            if _run(command, directory, stream, lambda passed, what=what: progress(what + passed)):
                tail = "\n".join(log.read_text().splitlines()[-25:])
                raise BuildError(f"{command[0]} failed while building the simulated board; the end of {log}:\n{tail}")
    (directory / "board.so.tmp").rename(directory / "board.so")


def _split(config: MachineConfig) -> list[str]:
    """One file of C++ makes the fastest simulator; of a machine with clusters a compiler needs minutes to an hour for
    it."""
    if config.clusters == 1:
        return [*WHOLE, *COLD_CODE]
    return ["--output-split", "30000", "--output-split-cfuncs", "3000"]


def _run(command: list[str], directory: Path, log: IO, progress: Callable[[str], None]) -> int:
    """The exit status; ``progress`` is called at intervals with the time passed, since a compiler prints nothing."""
    began = time.monotonic()
    progress("")
    with subprocess.Popen(command, cwd=directory, stdout=log, stderr=subprocess.STDOUT,
                          start_new_session=True) as process:
        try:
            while True:
                try:
                    return process.wait(timeout=SIGN_OF_LIFE)
                except subprocess.TimeoutExpired:
                    passed = time.monotonic() - began
                    if passed > BUILD_LIMIT:
                        raise BuildError(f"{command[0]} was stopped after {passed:.0f} s; what it said is in "
                                         f"{log.name}.") from None
                    progress(f": {passed:.0f} s")
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)  # with the compilers it started, or leaving would wait for them


def _include() -> Path:
    return Path(sysconfig.get_paths()["purelib"]) / "verilator" / "include"
