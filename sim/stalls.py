# SPDX-License-Identifier: Apache-2.0
"""``make stalls``: frames on a DRAM that stalls at random, seed by seed, each compared with golden."""

import argparse
import sys
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from golden.device import GoldenDevice
from golden.files.machine_file import add_machine_option
from golden.model.random_int_model import random_int_model
from golden.spec.machine import MachineConfig
from golden.spec.model import MODELS
from golden.spec.program.image import Image
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from host.driver.errors import AccelError
from host.driver.session import Session
from host.interrupts import ends_on_sigterm
from host.parallel_map import ClusterError, add_parallel_options, parallel_map
from host.progress import opening, steps
from sim.board.build import build_board
from sim.board.settings import DramSettings
from sim.device import SimDevice

SEEDS = 50
LIMIT = 20_000_000


@dataclass(frozen=True)
class Outcome:
    """One frame: its cycles, whether every residual row equalled golden's, what went wrong otherwise."""

    seed: int
    cycles: int
    exact: bool
    said: str = ""


def stalling(seed: int) -> DramSettings:
    """A DRAM drawn by ``seed``: latency 1..199, stalls up to 0.7, 2..32 bytes a cycle, up to a fifth for refresh."""
    rng = np.random.default_rng(seed)
    return DramSettings(
        latency=int(rng.integers(1, 200)), stall=float(rng.uniform(0, 0.7)), seed=seed,
        bytes_per_cycle=float(rng.uniform(2, 32)), refresh_period=500, refresh_length=int(rng.integers(0, 100)))


@cache
def frame_of(model: str, machine: MachineConfig) -> tuple[Image, np.ndarray, dict]:
    """Program, picture and golden residuals, computed once in each process."""
    config = MODELS[model]
    plan = Plan.fast(config.depth, config.task_heads)
    image = compile_model(random_int_model(config, plan, seed=1), machine)
    picture = np.random.default_rng(7).integers(0, 256, (config.image_height, config.image_width, 3), dtype=np.uint8)
    return image, picture, Session(image, GoldenDevice(image.machine)).frame(picture).residuals


def equals_golden(result, golden: dict) -> bool:
    """Whether every residual row of a frame's result is golden's, bit for bit."""
    return all(np.array_equal(result.residuals[key], golden[key]) for key in golden)


def run(model: str, machine: MachineConfig, seed: int) -> Outcome:
    """One frame on a fresh board."""
    image, picture, golden = frame_of(model, machine)
    device = SimDevice(image.machine, stalling(seed))
    try:
        result = Session(image, device, job_limit=LIMIT).frame(picture)
        exact = equals_golden(result, golden)
        return Outcome(seed, result.cycles, exact, "" if exact else "residual rows differ from golden")
    except AccelError as error:
        return Outcome(seed, 0, False, str(error))
    finally:
        device.close()


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when every frame is exact, 1 when one is not, 2 when there is no cluster, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make stalls", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--model", default="nano", choices=sorted(MODELS))
    add_machine_option(parser, default="nano")
    add_parallel_options(parser)
    options = parser.parse_args(arguments)
    try:
        if options.scheduler is None:
            build_board(options.machine, opening)  # once, not in every process
        with steps(f"stalls on {options.machine.name}") as report:
            seeds = range(options.first, options.first + options.seeds)
            outcomes = parallel_map(partial(run, options.model, options.machine), seeds,
                                    scheduler=options.scheduler, workers=options.workers, report=report)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    for outcome in outcomes:
        if not outcome.exact:
            print(f"seed {outcome.seed}: {outcome.said}")
    exact = [outcome.cycles for outcome in outcomes if outcome.exact]
    print(f"{len(exact)} of {len(outcomes)} frames exact" + (f", {min(exact):,} to {max(exact):,} cycles" if exact
                                                            else ""))
    return 0 if len(exact) == len(outcomes) else 1


if __name__ == "__main__":
    with ends_on_sigterm():
        raise SystemExit(main())
