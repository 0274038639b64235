# SPDX-License-Identifier: Apache-2.0
"""The command of the driver alone, ``edge-moe-driver`` or ``python -m host.driver``: serve, run, doctor.

It needs numpy and the standard library, as the driver does; `edge-moe` has the same verbs and more, for the desk.
Exit status: 0 done; 1 the device or the job failed; 2 the input was refused.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from golden.spec.program.container import ProgramError
from host.driver import Device, Session, doctor, open_device
from host.driver.device import clock_text
from host.driver.errors import AccelError, InputError, VersionMismatch
from host.driver.remote.client import PORT
from host.driver.remote.serve import LOOPBACK, serve
from host.driver.remote.server import IDLE
from host.driver.remote.token import default_file


def main(arguments: "list[str] | None" = None) -> int:
    """Do what the arguments say; an error becomes one sentence on stderr."""
    given = _parser().parse_args(arguments)
    try:
        return given.verb(given)
    except (InputError, VersionMismatch, ProgramError, ValueError) as error:
        return _ended(2, f"{type(error).__name__}: {error}")
    except AccelError as error:
        return _ended(1, f"{type(error).__name__}: {error}")
    except OSError as error:
        return _ended(2, f"{error.filename or 'address'}: {error.strerror or error}.")


def _serve(given: argparse.Namespace) -> int:
    serve(lambda: _opened(given), host=given.host, port=given.port, token_file=given.token_file, idle=given.idle,
          report=_said)
    return 0


def _run(given: argparse.Namespace) -> int:
    pixels = np.load(given.picture, allow_pickle=False)
    with _opened(given) as device:
        result = Session(given.program, device).frame(pixels, given.task)
        found: dict[str, Any] = dict(result)
        np.savez(given.output, **found)
        _said(f"{device.name}: {result.cycles} cycles at {clock_text(device)}; {', '.join(found)} are in "
              f"{given.output}")
    return 0


def _doctor(given: argparse.Namespace) -> int:
    return doctor.main([] if given.program is None else [given.program])


def _opened(given: argparse.Namespace) -> Device:
    options = {"uio": given.uio, "buffer": given.buffer, "clock_hz": None if given.clock is None else given.clock * 1e6}
    return open_device(given.device, **{name: value for name, value in options.items() if value is not None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("edge-moe-driver", description="Runs programs on the accelerator of a board.")
    verbs = parser.add_subparsers(required=True, metavar="serve | run | doctor")
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--device", default="uio", help="uio, uio:NAME, pynq:FILE.bit, xrt:FILE.xclbin or "
                                                       "remote:HOST:PORT (default: %(default)s)")
    where.add_argument("--uio", help="UIO node of the board, by its name or as uioN")
    where.add_argument("--buffer", help="u-dma-buf buffer of the board")
    where.add_argument("--clock", type=float, help="clock of the device in MHz")
    one = verbs.add_parser("serve", parents=[where], help="lend a device to other computers, one owner at a time")
    one.add_argument("--host", default=LOOPBACK, help="address to listen at (default: %(default)s, this computer only)")
    one.add_argument("--port", type=int, default=PORT, help="port (default: %(default)s; 0: any)")
    one.add_argument("--token-file", type=Path, help=f"file of the token; made where there is none (default: "
                                                     f"{default_file()}, or $EDGE_MOE_TOKEN)")
    one.add_argument("--idle", type=float, default=IDLE, help="seconds after which a silent owner loses the device "
                                                              "(default: %(default)s)")
    one.set_defaults(verb=_serve)
    one = verbs.add_parser("run", parents=[where], help="run one picture")
    one.add_argument("program", help="program image, a file .emoe")
    one.add_argument("picture", help="picture of the program's size, uint8 height x width x channels, a file .npy")
    one.add_argument("-o", "--output", required=True, help="file .npz for all results")
    one.add_argument("--task", help="program to run; the first by default")
    one.set_defaults(verb=_run)
    one = verbs.add_parser("doctor", help="what this board lacks to run a program, and what to do")
    one.add_argument("program", nargs="?", help="program image whose memory is checked as well")
    one.set_defaults(verb=_doctor)
    return parser


def _said(text: str) -> None:
    print(text, flush=True)


def _ended(status: int, text: str) -> int:
    print(f"edge-moe-driver: {text}", file=sys.stderr)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
