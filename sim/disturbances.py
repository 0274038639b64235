# SPDX-License-Identifier: Apache-2.0
"""Frames on nano with a bus fault, an abort or a reset at a random moment: an error or the right result, and a clean
frame after each. Seed by seed, for ``make nightly``."""

import argparse
import sys
from dataclasses import dataclass
from functools import partial

import numpy as np

from golden.spec.machine import NANO, MachineConfig
from host.driver.errors import AccelError
from host.driver.session import Session
from host.interrupts import ends_on_sigterm
from host.parallel_map import ClusterError, add_parallel_options, parallel_map
from host.progress import opening, steps
from sim.board.build import build_board
from sim.board.settings import DRAM_BASE, DramSettings, Fault, Response
from sim.device import SimDevice
from sim.stalls import LIMIT, equals_golden, frame_of, stalling

SEEDS = 100
BUS_LIMIT = 2000
KINDS = ("response", "dead", "rlast", "cut", "surplus", "write response", "abort", "reset")


@dataclass(frozen=True)
class Ending:
    """How the disturbed frame of a seed ended, ``OK`` or the name of the error; ``said``: what must not happen."""

    seed: int
    kind: str
    ended: str
    said: str = ""


def fault_of(kind: str, rng: np.random.Generator, used: int) -> Fault:
    """One fault at a random beat of the first ``used`` bytes of DRAM."""
    options: dict = {"response": {"response": Response(int(rng.integers(2, 4)))}, "dead": {"dead": True},
                     "rlast": {"rlast": True}, "cut": {"cut": True}, "surplus": {"surplus": int(rng.integers(1, 4))},
                     "write response": {"write": True, "response": Response.SLVERR}}[kind]
    return Fault(address=DRAM_BASE + int(rng.integers(used // 16)) * 16, gap=int(rng.integers(40)), **options)


def run(model: str, machine: MachineConfig, seed: int) -> Ending:
    """A disturbed frame and a clean one on a fresh board."""
    rng = np.random.default_rng([seed, 17])
    kind = KINDS[int(rng.integers(len(KINDS)))]
    image, picture, golden = frame_of(model, machine)
    device = SimDevice(image.machine, stalling(seed))
    try:
        session = Session(image, device, job_limit=LIMIT, bus_limit=BUS_LIMIT)
        ended, said = "OK", ""
        try:
            if kind in ("abort", "reset"):
                moment = int(rng.integers(60_000))

                def disturb(done: int) -> None:
                    if done >= moment:
                        raise KeyboardInterrupt if kind == "abort" else _Reset

                result = session.frame(picture, progress=disturb)
            else:
                device.board.inject([fault_of(kind, rng, device._next)])
                result = session.frame(picture)
            if not equals_golden(result, golden):
                said = "a wrong result was called good"
        except AccelError as error:
            ended = type(error).__name__
        except KeyboardInterrupt:
            ended = "aborted"
        except _Reset:
            device.board.reset()
            ended = "reset"
        device.board.inject([])
        device.board.configure(DramSettings(latency=20))
        device.board.reset()
        device.free()
        result = Session(image, device, job_limit=LIMIT).frame(picture)
        if not said and not equals_golden(result, golden):
            said = "the clean frame after it differs"
        return Ending(seed, kind, ended, said)
    except AccelError as error:
        return Ending(seed, kind, "lost", f"the clean frame after it failed: {error}")
    finally:
        device.close()


class _Reset(Exception):
    """Ends the driver's wait: the pin is pulled now."""


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when every seed ended well, 1 when one did not, 2 when there is no cluster, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m sim.disturbances", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    add_parallel_options(parser)
    options = parser.parse_args(arguments)
    try:
        if options.scheduler is None:
            build_board(NANO, opening)
        with steps("disturbances on nano") as report:
            endings = parallel_map(partial(run, "nano", NANO), range(options.first, options.first + options.seeds),
                                   scheduler=options.scheduler, workers=options.workers, report=report)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    wrong = [ending for ending in endings if ending.said]
    for ending in wrong:
        print(f"seed {ending.seed} ({ending.kind}): {ending.said}")
    for kind in KINDS:
        mine = [ending.ended for ending in endings if ending.kind == kind]
        print(f"{kind}: {len(mine)}, " + ", ".join(f"{name} {mine.count(name)}" for name in sorted(set(mine))))
    print(f"{len(endings) - len(wrong)} of {len(endings)} seeds ended well")
    return 1 if wrong else 0


if __name__ == "__main__":
    with ends_on_sigterm():
        raise SystemExit(main())
