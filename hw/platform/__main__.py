# SPDX-License-Identifier: Apache-2.0
"""``python -m hw.platform --board kv260``: writes a platform kit."""

import argparse
import sys
import time
import warnings
from pathlib import Path

from amaranth.hdl import UnusedElaboratable

from golden.files.machine_file import machine_of
from golden.spec.boards import BOARDS
from golden.spec.machine import MACHINES
from golden.spec.model import ConfigError
from hw.platform.choice import Choice, choice
from hw.platform.kit import write
from hw.verilog import shipped_verilog


def main(arguments: list[str] | None = None) -> None:
    """Write the kit that the arguments ask for, and say what to do with it."""
    parser = argparse.ArgumentParser(prog="python -m hw.platform", description=__doc__)
    parser.add_argument("--board", required=True, choices=sorted(BOARDS), help="which board")
    parser.add_argument("--machine", help=f"which machine: {', '.join(MACHINES)}, or a JSON file; the board's own by "
                                          "default")
    parser.add_argument("--clock", type=float, metavar="MHZ", help="clock; the board file's clock_hz by default")
    parser.add_argument("--buffer", type=int, metavar="MIB", default=Choice.buffer_bytes >> 20,
                        help="buffer of the overlay, %(default)s MiB by default")
    parser.add_argument("-o", "--output", type=Path, help="folder to write; out/platform/BOARD by default")
    options = parser.parse_args(arguments)
    try:
        chosen = choice(BOARDS[options.board], options.machine and machine_of(options.machine),
                        options.clock and round(options.clock * 1e6), options.buffer << 20)
    except ConfigError as error:
        parser.error(str(error))
    folder = options.output or Path("out/platform") / options.board
    if folder.exists() and not folder.is_dir():
        parser.error(f"-o must name a folder; {folder} is a file.")
    print(f"Verilog of {chosen.machine.name}: seconds for a small machine, minutes for a large one", file=sys.stderr)
    warnings.simplefilter("ignore", UnusedElaboratable)
    began = time.monotonic()
    names = write(chosen, folder, shipped_verilog(chosen.machine))
    print(f"{folder}: {', '.join(names)} ({time.monotonic() - began:.0f} s)")
    print(f"Next: copy {folder} to the machine with the vendor's tool and, in it, vivado -mode batch -source "
          f"build.tcl; {folder / 'README.md'} says what then.")


if __name__ == "__main__":
    main()
