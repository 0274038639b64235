# SPDX-License-Identifier: Apache-2.0
"""Options of the commands about kits: which board, machine, clock."""

import argparse
from collections.abc import Iterable

from golden.files.machine_file import machine_of
from golden.spec.boards import BOARDS
from golden.spec.machine import MACHINES
from hw.platform.choice import Choice, choice


def add_choice(parser: argparse.ArgumentParser, boards: Iterable[str]) -> None:
    """Give a command the options of a kit."""
    parser.add_argument("--board", required=True, choices=sorted(boards), help="which board")
    parser.add_argument("--machine", help=f"which machine: {', '.join(MACHINES)}, or a JSON file; the board's own by "
                                          "default")
    parser.add_argument("--clock", type=float, metavar="MHZ", help="clock; the board file's clock_hz by default")
    parser.add_argument("--buffer", type=int, metavar="MIB", default=Choice.buffer_bytes >> 20,
                        help="buffer of the overlay, %(default)s MiB by default")


def chosen(options: argparse.Namespace) -> Choice:
    """What the options say. Raises ConfigError."""
    return choice(BOARDS[options.board], options.machine and machine_of(options.machine),
                  options.clock and round(options.clock * 1e6), options.buffer << 20)
