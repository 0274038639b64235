# SPDX-License-Identifier: Apache-2.0
"""``python -m hw.platform --board kv260``: writes a platform kit."""

import argparse
import sys
import time
import warnings
from pathlib import Path

from amaranth.hdl import UnusedElaboratable

from golden.spec.boards import BOARDS
from golden.spec.model import ConfigError
from hw.platform.command import add_choice, chosen
from hw.platform.kit import write
from hw.verilog import shipped_verilog


def main(arguments: list[str] | None = None) -> None:
    """Write the kit that the arguments ask for, and say what to do with it."""
    parser = argparse.ArgumentParser(prog="python -m hw.platform", description=__doc__)
    add_choice(parser, BOARDS)
    parser.add_argument("-o", "--output", type=Path, help="folder to write; out/platform/BOARD by default")
    options = parser.parse_args(arguments)
    try:
        choice = chosen(options)
    except ConfigError as error:
        parser.error(str(error))
    folder = options.output or Path("out/platform") / options.board
    if folder.exists() and not folder.is_dir():
        parser.error(f"-o must name a folder; {folder} is a file.")
    print(f"Verilog of {choice.machine.name}: seconds for a small machine, minutes for a large one", file=sys.stderr)
    warnings.simplefilter("ignore", UnusedElaboratable)
    began = time.monotonic()
    names = write(choice, folder, shipped_verilog(choice.machine))
    print(f"{folder}: {', '.join(names)} ({time.monotonic() - began:.0f} s)")
    print(f"Next: copy {folder} to the machine with the vendor's tool and, in it, vivado -mode batch -source "
          f"build.tcl; {folder / 'README.md'} says what then.")


if __name__ == "__main__":
    main()
